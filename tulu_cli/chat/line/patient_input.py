"""The terminal's input, in which a bracketed paste whose end mark is lost ends by itself.

prompt_toolkit waits for the mark for ever, and takes every key after it for a part of the paste.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyPress

# Longer than a slow connection pauses inside of a paste, shorter than anybody waits.
PATIENCE_SECONDS = 2.0
_END_MARK = "\x1b[201~"


class PatientInput(Vt100Input):
    """Ends a paste after PATIENCE_SECONDS without a byte of it."""

    def __init__(self, stdin: TextIO) -> None:
        super().__init__(stdin)
        self._ready: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, input_ready_callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Remember, too, whom to tell that there are keys."""
        self._ready = input_ready_callback
        return super().attach(input_ready_callback)

    def read_keys(self) -> list[KeyPress]:
        """What has come; the clock starts anew with each part of a paste."""
        keys = super().read_keys()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The parser keeps to itself that it is in a paste, so this looks at its private state.
        if self.vt100_parser._in_bracketed_paste:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE_SECONDS, self._end_paste)
        return keys

    def _end_paste(self) -> None:
        self.vt100_parser.feed(_END_MARK)
        self._ready()
