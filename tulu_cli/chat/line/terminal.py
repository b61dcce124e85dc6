"""The terminal during an answer: keys wait for the next prompt, and Ctrl-C is held back."""

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from tulu_cli.streams import Streams

_INPUT, _LOCAL = 0, 3  # the places of c_iflag and c_lflag in what tcgetattr gives
_PASTES_MARKED = "\x1b[?2004h"
_PASTES_UNMARKED = "\x1b[?2004l"


class TypeAhead:
    """Leave keys in the terminal's queue: not echoed, not changed, not flushed by a Ctrl-C.

    Enter and the marks of a paste stay as they are, so that the next prompt reads them as if they
    were typed then. Ctrl-C still sends SIGINT.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._before: list[Any] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is typed for as long as the chat lasts."""
        self._before = termios.tcgetattr(sys.stdin)
        try:
            self._set()
            yield
        finally:
            self._restore()
            self._before = None

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Restore the terminal for another program to use."""
        self._restore()
        try:
            yield
        finally:
            self._set()

    @contextmanager
    def during_answer(self) -> Iterator[None]:
        """Keep what is typed also after the shell has put the chat in the background and back."""
        self._set()
        before = signal.signal(signal.SIGCONT, self._come_back)
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, before)

    def _set(self) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, _quiet(self._before))
            self._streams.write_styled(_PASTES_MARKED)

    def _come_back(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSANOW, _quiet(self._before))
            # Past the buffer of stdout, which the answer may be in the middle of writing to.
            with suppress(OSError):
                os.write(self._streams.stdout.fileno(), _PASTES_MARKED.encode())

    def _restore(self) -> None:
        if self._before is not None:
            with suppress(termios.error):  # a terminal that has hung up
                termios.tcsetattr(sys.stdin, termios.TCSANOW, self._before)
                self._streams.write_styled(_PASTES_UNMARKED)


def _quiet(attributes: list[Any]) -> list[Any]:
    """Return the attributes with everything off that would echo, change or drop a key."""
    changed = list(attributes)
    changed[_INPUT] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR)
    changed[_LOCAL] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    changed[_LOCAL] |= termios.NOFLSH
    return changed


class Interrupts:
    """Hold SIGINT back, except where `welcome` lets it raise KeyboardInterrupt, once.

    A second Ctrl-C comes during the clean-up after the first and must not break it: it is only
    remembered in `pressed`, until one is welcome again.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._welcome = False

    @contextmanager
    def held_back(self) -> Iterator["Interrupts"]:
        """Take SIGINT over, in the main thread, for as long as the chat lasts."""
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def welcome(self) -> Iterator[None]:
        """Let a Ctrl-C raise KeyboardInterrupt, also one that came since `forget`."""
        self._welcome = True
        try:
            if self.pressed:
                raise KeyboardInterrupt
            yield
        finally:
            self._welcome = False

    def forget(self) -> None:
        """Ignore every Ctrl-C so far."""
        self.pressed = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.pressed = True
        if self._welcome:
            self._welcome = False
            raise KeyboardInterrupt
