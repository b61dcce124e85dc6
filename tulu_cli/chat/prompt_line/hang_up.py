"""SIGTERM and SIGHUP at the prompt: the application ends in order, and then the program."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from prompt_toolkit import Application, PromptSession

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def ask(session: PromptSession[str], message: str | None = None, **options: Any) -> str:
    """What `session.prompt` gives. A signal's handler, which raises, is called when it has ended.

    Raised in the middle of asyncio, an exception can be the end of the very callback that would
    have woken the prompt; it would then wait for ever, for a terminal that is gone.
    """
    ending = _Ending(session.app)
    with ending.held_back():
        return session.prompt(message, pre_run=ending.watch, **options)


class _Ending:
    """Notes a signal, and has the application exit by its own loop."""

    def __init__(self, app: Application[str]) -> None:
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came: list[Callable[[], Any]] = []

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Take the signals over, and in the end let the first that came do what it does."""
        before = {number: signal.getsignal(number) for number in _ENDING}
        # nohup ignores SIGHUP, and that stays.
        handlers = {number: handler for number, handler in before.items() if callable(handler)}
        for number, handler in handlers.items():
            signal.signal(number, self._noting(handler))
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for handle in self._came[:1]:
                handle()

    def watch(self) -> None:
        """What came before the loop ran ends the application now."""
        self._loop = asyncio.get_running_loop()
        if self._came:
            self._exit()

    def _noting(
        self, handler: Callable[[int, FrameType | None], Any]
    ) -> Callable[[int, FrameType | None], None]:
        def note(number: int, _frame: FrameType | None) -> None:
            self._came.append(lambda: handler(number, None))
            if self._loop is not None:
                with suppress(RuntimeError):  # it is closed: the prompt has ended already
                    self._loop.call_soon_threadsafe(self._exit)

        return note

    def _exit(self) -> None:
        if self._app.future is not None and not self._app.is_done:
            self._app.exit(result="")
