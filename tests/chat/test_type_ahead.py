"""The terminal while the model answers, after a stay in the background."""

import io
import os
import pty
import signal
import termios
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from tulu_cli.chat.line.terminal import TypeAhead
from tulu_cli.streams import Streams

LOCAL = 3
MARKED, UNMARKED = "\x1b[?2004h", "\x1b[?2004l"


class Interrupted(io.RawIOBase):
    """A terminal in the middle of whose writes the program comes back from the background."""

    def __init__(self, terminal: int) -> None:
        super().__init__()
        self._terminal = terminal
        self.armed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._terminal

    def write(self, data: object) -> int:
        if self.armed:
            self.armed = False
            signal.raise_signal(signal.SIGCONT)
        return os.write(self._terminal, bytes(data))  # type: ignore[call-overload]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Both ends of a terminal; the program's is its stdin."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield master, slave
    with suppress(OSError):
        os.close(master)


def test_coming_back_in_the_middle_of_a_write_breaks_nothing(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    raw = Interrupted(slave)
    streams = replace(Streams.test(tty=True), stdout=io.BufferedWriter(raw))
    before = termios.tcgetattr(slave)
    type_ahead = TypeAhead(streams)
    with type_ahead.kept(), type_ahead.during_answer():
        quiet = termios.tcgetattr(slave)
        termios.tcsetattr(slave, termios.TCSANOW, before)  # as a shell does
        raw.armed = True
        streams.write("an answer")
        assert not raw.armed
        assert termios.tcgetattr(slave) == quiet
        assert not quiet[LOCAL] & termios.ECHO
        streams.write(", and more")
    assert termios.tcgetattr(slave) == before
    shown = ""
    while not shown.endswith(UNMARKED):
        shown += os.read(master, 4096).decode()
    assert shown.replace(MARKED, "") == f"an answer, and more{UNMARKED}"
    assert f"{MARKED}an answer" in shown
