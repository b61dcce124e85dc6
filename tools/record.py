"""Record a terminal session as a picture: python -m tools.record [FILE.svg].

A shell runs on a pseudo-terminal, keys are pressed as a person would, and what stands on its
screen at the end is drawn. Nothing is drawn by hand: the answers are those of the demo model.
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pyte

from tools.drawing import drawn

ROOT = Path(__file__).parent.parent
PICTURE = Path(__file__).parent / "session.svg"
COLUMNS, ROWS = 88, 48
_DEADLINE_SECONDS = 120
_START_FILE = "bashrc"
_SHELL = ("bash", "--noprofile", "--rcfile", _START_FILE, "-i")
_START = r"PS1='\[\e[1;32m\]$\[\e[0m\] '"
_KEPT = ("TULU_CACHE_DIR", "TULU_DEMO_WHEEL")
# The shell itself opens the terminal, which makes it the one that commands it.
_ON_TERMINAL = 'terminal=$1; shift; exec "$@" <"$terminal" >"$terminal" 2>&1'


@dataclass(frozen=True)
class Step:
    """A line to type, and the prompt that follows when it is done.

    `below` is a part of the row under that prompt.
    """

    line: str
    prompt: str = "$"
    below: str = ""


SESSION = (
    Step('tulu complete -m demo --greedy "What is the capital of France?"'),
    Step("tulu chat -m demo --greedy", ">", "token"),
    Step("Name three primary colours as a list.", ">", "token"),
    Step("Write a Python function that adds two numbers. Only the code.", ">", "token"),
    Step("/tree", ">", "token"),
)


class Recording:
    """A shell on a terminal, whose output goes to `screen`."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        # This end stays open: until the shell has it too, to read from the other is an error.
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        command = ["sh", "-c", _ON_TERMINAL, "sh", os.ttyname(self._slave), *_SHELL]
        self._shell = subprocess.Popen(command, env=env, cwd=folder, start_new_session=True)

    def play(self, step: Step) -> None:
        """Type a line, wait for its echo, press Enter, and wait until it is done."""
        before = self._row()
        os.write(self._master, step.line.encode())
        self.wait(lambda: self._row() != before, step.line)
        os.write(self._master, b"\r")
        self.wait(lambda: self.is_at(step), step.line)

    def wait(self, condition: Callable[[], bool], line: str) -> None:
        """Read until the screen is as wanted. Raise TimeoutError, which shows the screen."""
        end = monotonic() + _DEADLINE_SECONDS
        while not condition():
            if not select.select([self._master], [], [], max(0.0, end - monotonic()))[0]:
                shown = "\n".join(self.screen.display).rstrip()
                raise TimeoutError(f"{line!r} does not end:\n{shown}")
            self._stream.feed(os.read(self._master, 65536))

    def is_at(self, step: Step) -> bool:
        """Return True if the step is done and an empty prompt follows."""
        row = self.screen.cursor.y
        below = "" if row + 1 == ROWS else self.screen.display[row + 1]
        return self._row() == step.prompt and step.below in below

    def close(self) -> None:
        """Hang up, which ends the shell and its children."""
        os.close(self._master)
        os.close(self._slave)
        self._shell.wait()

    def _row(self) -> str:
        return self.screen.display[self.screen.cursor.y].rstrip()


def record(session: tuple[Step, ...]) -> pyte.Screen:
    """Return the screen at the end of a session in a folder with settings of its own."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="tulu-record-") as name:
        folder = Path(name)
        with recording(folder) as running:
            running.wait(lambda: running.is_at(Step("")), "the shell's start")
            for step in session:
                running.play(step)
            return running.screen


@contextmanager
def recording(folder: Path) -> Iterator[Recording]:
    """Yield a shell that finds `tulu` in its PATH, and end it afterwards."""
    program = folder / "tulu"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tulu_cli "$@"\n')
    program.chmod(0o755)
    (folder / _START_FILE).write_text(f"{_START}\n")
    running = Recording(environment(folder), folder)
    try:
        yield running
    finally:
        running.close()


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without the user's settings and history, but with their models."""
    kept = {name: text for name, text in os.environ.items() if name in _KEPT or _is_foreign(name)}
    own = {name: str(folder / name) for name in ("TULU_DATA_DIR", "TULU_RUNTIME_DIR")}
    fixed = {"TULU_CONFIG": os.devnull, "TERM": "xterm-256color"}
    paths = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return kept | own | fixed | paths


def _is_foreign(name: str) -> bool:
    return not name.startswith("TULU_") and name not in ("NO_COLOR", "FORCE_COLOR")


def main(arguments: list[str]) -> int:
    """Write the picture and return the exit code."""
    target = Path(arguments[0]) if arguments else PICTURE
    target.write_text(drawn(record(SESSION)), encoding="utf-8")
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
