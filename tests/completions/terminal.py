"""A shell on a pseudo-terminal, with a screen that says what its user would see."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

import pyte

from tests.program import DEADLINE_SECONDS

_ROWS, _COLUMNS = 60, 100
# The shell itself opens the terminal, which makes it the one that commands it.
_ON_TERMINAL = 'terminal=$1; shift; exec "$@" <"$terminal" >"$terminal" 2>&1'


class Terminal:
    """Runs one shell; everything that it writes goes to `screen`."""

    def __init__(self, command: list[str], env: Mapping[str, str], folder: Path) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self._screen = pyte.Screen(_COLUMNS, _ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self.process = subprocess.Popen(
            ["sh", "-c", _ON_TERMINAL, "sh", os.ttyname(self._slave), *command],
            env=dict(env),
            cwd=folder,
            start_new_session=True,
        )
        # Ours stays open: a terminal that nobody has open yet cannot be read from.

    def type(self, text: str) -> None:
        """Press these keys; \\t is Tab, \\r is Enter, \\x15 takes the line back."""
        os.write(self._master, text.encode())

    def wait(self, condition: Callable[[str], bool], what: str) -> str:
        """Read until the screen is as wanted, and return it; fails at the deadline."""
        end = monotonic() + DEADLINE_SECONDS
        while not condition(shown := self.text()):
            ready = select.select([self._master], [], [], max(0.0, end - monotonic()))[0]
            assert ready, f"{what} is not on the screen:\n{shown}"
            self._stream.feed(os.read(self._master, 65536))
        return shown

    def see(self, *texts: str) -> str:
        """Wait until all these texts are on the screen."""
        return self.wait(lambda shown: all(text in shown for text in texts), f"{texts}")

    def text(self) -> str:
        """The screen as lines without what is blank."""
        return "\n".join(line.rstrip() for line in self._screen.display).strip("\n")

    def close(self) -> None:
        """End the shell, and whatever it has started."""
        os.close(self._master)
        os.close(self._slave)
        self.process.kill()
        self.process.wait()


def program(folder: Path) -> Path:
    """A `tulu` in the folder that runs what is tested, the script that pip would make of it."""
    script = folder / "tulu"
    lines = (
        f"#!{sys.executable}",
        "import sys",
        "from tulu_cli.__main__ import main",
        "sys.exit(main())",
    )
    script.write_text("\n".join((*lines, "")))
    script.chmod(0o755)
    return script
