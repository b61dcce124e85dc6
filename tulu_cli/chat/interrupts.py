"""Ctrl-C in a chat: it stops what is waited for, and never the conversation."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Holds SIGINT back, but where `welcome` lets it raise KeyboardInterrupt, once.

    A second Ctrl-C lands in the tidying up after the first and must not break it: it is only
    remembered in `pressed`, until the next time that one is welcome.
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
        """A Ctrl-C in here raises KeyboardInterrupt, also one that came since `forget`."""
        self._welcome = True
        try:
            if self.pressed:
                raise KeyboardInterrupt
            yield
        finally:
            self._welcome = False

    def forget(self) -> None:
        """Let what was pressed so far stop nothing any more."""
        self.pressed = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.pressed = True
        if self._welcome:
            self._welcome = False
            raise KeyboardInterrupt
