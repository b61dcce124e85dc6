"""`tulu chat` on a pseudo-terminal, and the screen that a person would see."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import pyte

from tests.forkserver import Forked
from tests.program import DEADLINE_SECONDS, environment

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"
PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"
HISTORY_LINES = 20_000


class ChatTerminal:
    """A terminal with the program in it. `sent` is every byte that the program has written."""

    def __init__(
        self, *arguments: str, columns: int = 80, lines: int = 24, env: Mapping[str, str]
    ) -> None:
        self.sent = b""
        self.columns = columns
        self._screen = pyte.HistoryScreen(columns, lines, history=HISTORY_LINES, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        self.before = self.attributes()
        # Ctrl-C is a signal of the terminal that a process controls.
        self.process = Forked(
            ["chat", *arguments],
            controls=True,
            env=environment(env),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Send keys, taking in what comes meanwhile: a full terminal would block both sides.

        A lone surrogate is a byte that is not UTF-8, as in the names of files.
        """
        data = text.encode("utf-8", "surrogateescape")
        while data:
            _, writable, _ = select.select([], [self._master], [], 0.01)
            if writable:
                data = data[os.write(self._master, data[:512]) :]
            self._take(0)

    def say(self, text: str) -> None:
        """Type a line and send it."""
        self.type(text + ENTER)

    def paste(self, text: str) -> None:
        """What a terminal sends for a paste: Enter for each line end, between two marks."""
        self.type(PASTE_BEGINS + text.replace("\n", "\r") + PASTE_ENDS)

    def resize(self, columns: int, lines: int) -> None:
        """The window is pulled to another size."""
        self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def screen(self) -> str:
        """The rows that are on the screen now, without the spaces at their ends."""
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip()

    def text(self) -> str:
        """All rows, those that have scrolled away too."""
        return "\n".join(row.rstrip() for row in self._rows()).rstrip()

    def shows(self, text: str) -> bool:
        """Whether it stands, or stood, on the screen; it may be broken, also between words."""
        shown = self.text()
        if text in shown or text in "".join(self._rows()):
            return True
        return " ".join(text.split()) in " ".join(shown.split())

    def until(self, wanted: str | Callable[[], bool]) -> str:
        """Wait until the screen shows a text, or until something is true; all text so far."""
        condition = wanted if callable(wanted) else lambda: self.shows(wanted)
        end = monotonic() + DEADLINE_SECONDS
        while not condition():
            assert monotonic() < end, f"{wanted!r} has not come:\n{self.text()}"
            if not self._take(0.05) and self.process.poll() is not None:
                assert condition(), f"ended before {wanted!r} came:\n{self.text()}"
        return self.text()

    def until_prompt(self) -> str:
        """Wait until an empty prompt line with its toolbar stands on the screen."""
        return self.until(self._at_prompt)

    def until_silent(self) -> None:
        """Wait until all keys have been dealt with: nothing more is drawn for a while."""
        while self._take(1):
            pass

    def attributes(self) -> list[Any]:
        """How the terminal is set: what it echoes, which keys it takes for itself."""
        return termios.tcgetattr(self._master)

    def set_attributes(self, attributes: list[Any]) -> None:
        """Set it from outside."""
        termios.tcsetattr(self._master, termios.TCSANOW, attributes)

    def exit_code(self) -> int:
        """Wait for the program's end."""
        end = monotonic() + DEADLINE_SECONDS
        while self.process.poll() is None:
            assert monotonic() < end, f"still running:\n{self.text()}"
            self._take(0.02)
        while self._take(0):
            pass
        return self.process.returncode

    def leave(self) -> None:
        """Ctrl-D at the prompt ends the chat with success."""
        self.until_prompt()
        self.type(CTRL_D)
        assert self.exit_code() == 0

    def hang_up(self) -> int:
        """Close the terminal, as a window does; how the program has ended then."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)
        return self.process.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def _rows(self) -> list[str]:
        columns = range(self._screen.columns)
        above = ["".join(row[i].data for i in columns) for row in self._screen.history.top]
        return [*above, *self._screen.display]

    def _at_prompt(self) -> bool:
        row = self._screen.cursor.y
        display = self._screen.display
        below = display[row + 1] if row + 1 < len(display) else ""
        return display[row].rstrip() == ">" and "token" in below

    def _take(self, seconds: float) -> bool:
        """Take in what has come, waiting so long for it; False where nothing came."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the last writer has closed the terminal
            return False
        self.sent += data
        self._stream.feed(data)
        return bool(data)

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
