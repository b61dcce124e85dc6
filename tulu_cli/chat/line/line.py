"""The prompt line itself, put together from its parts."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from types import FrameType
from typing import Any

from prompt_toolkit import Application, PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from tulu_cli.chat.line.chips import Chips, ShowChips
from tulu_cli.chat.line.history import InputHistory
from tulu_cli.chat.line.keys import key_bindings
from tulu_cli.chat.slash.arguments import Candidate
from tulu_cli.text import terminal_safe


class Recall(History):
    """Offer the entries of all terminals to the arrow keys, Ctrl-R and suggestions."""

    def __init__(self, entries: InputHistory) -> None:
        super().__init__()
        self._entries = entries

    async def load(self) -> AsyncGenerator[str, None]:
        """Yield the entries, newest first, with those that other terminals have added by now."""
        self._loaded_strings = self._entries.newest_first()
        for entry in self._loaded_strings:
            yield entry

    def load_history_strings(self) -> Iterable[str]:
        """Return the entries, newest first."""
        return self._entries.newest_first()

    def store_string(self, string: str) -> None:
        """Do nothing: the prompt line stores entries, because it knows what its chips stand for."""


_ENDING = (signal.SIGTERM, signal.SIGHUP)


def ask(session: PromptSession[str], message: str | None = None, **options: Any) -> str:
    """Return what `session.prompt` returns, and call the handlers of signals after it has ended.

    A handler that raises in the middle of asyncio can end the very callback that would have woken
    the prompt, which would then wait for ever for a terminal that is gone.
    """
    ending = _Ending(session.app)
    with ending.held_back():
        return session.prompt(message, pre_run=ending.watch, **options)


class _Ending:
    """Note signals, and let the application exit from its own loop."""

    def __init__(self, app: Application[str]) -> None:
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came: list[Callable[[], Any]] = []

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Take the signals over, and call the handler of the first one at the end."""
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
        """Exit now if a signal came before the loop ran."""
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


_PROMPT = "> "
_CONTINUATION = ". "
_STYLE = Style.from_dict(
    {
        "prompt": "bold ansicyan",
        "chip": "reverse",
        "bottom-toolbar": "noreverse ansibrightblack",
        "auto-suggestion": "ansibrightblack",
    }
)


class PromptLine:
    """Read what a user types on a terminal.

    `complete` returns the candidates for the text before the cursor, and `toolbar` the line below
    the prompt for a width in columns.
    """

    interactive = True

    def __init__(
        self,
        history: InputHistory,
        complete: Callable[[str], Iterable[Candidate]],
        toolbar: Callable[[int], str],
        *,
        color: bool,
        vi_mode: bool,
    ) -> None:
        self._history = history
        self._chips = Chips()
        self._output = _Output.from_pty(sys.stdout)
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", _PROMPT)],
            multiline=True,
            prompt_continuation=_continuation,
            history=Recall(history),
            auto_suggest=AutoSuggestFromHistory(),
            completer=_Adapter(complete),
            complete_while_typing=Condition(self._names_a_command),
            reserve_space_for_menu=4,
            key_bindings=key_bindings(self._chips),
            bottom_toolbar=lambda: toolbar(self._output.get_size().columns),
            input_processors=[ShowChips(self._chips), TabsProcessor(char1=" ", char2=" ")],
            style=_STYLE,
            color_depth=None if color else ColorDepth.DEPTH_1_BIT,
            vi_mode=vi_mode,
            enable_suspend=True,
            tempfile_suffix=".md",
            # In vi mode a character may be a command.
            input=Vt100Input(sys.stdin) if vi_mode else _Input(sys.stdin),
            output=self._output,
        )

    def read(self, default: str = "") -> str:
        """Return what was typed; "" for a line that Ctrl-C gave up.

        Raise KeyboardInterrupt for a Ctrl-C on an empty line, and EOFError for a Ctrl-D.
        """
        text = self._chips.expand(ask(self._session, default=default))
        if text.strip():
            self._history.add(text)
        return text

    def confirm(self, question: str) -> bool:
        """Ask a question; return True for yes. The reply is not added to the history."""
        asking: PromptSession[str] = PromptSession(input=self._session.input, output=self._output)
        try:
            reply = ask(asking, f"{terminal_safe(question)} [y/N] ")
        except (EOFError, KeyboardInterrupt):
            return False
        return reply.strip().lower() in ("y", "yes")

    def _names_a_command(self) -> bool:
        text = self._session.default_buffer.text
        return text.startswith("/") and text[1:2] not in ("/", "*") and "\n" not in text


def _continuation(_width: int, _line: int, wraps: int) -> StyleAndTextTuples:
    """Return what stands before a line of the text, or before a row that only continues one."""
    return [("class:prompt", _CONTINUATION if wraps == 0 else " " * len(_CONTINUATION))]


class _Output(Vt100_Output):
    """Write to a terminal without asking for its cursor: the reply would come among the keys.

    prompt_toolkit shows no toolbar until it knows how many rows are below the cursor; one is sure.
    """

    def get_rows_below_cursor_position(self) -> int:
        return 1


# More characters at once than a person types, and too few of them to be folded as a paste.
_BURST, _PIECE = 64, 512


class _Input(Vt100Input):
    """Read what is pasted on a terminal that marks no pastes in pieces, and not key by key.

    prompt_toolkit looks up the bindings of each key: 100 kB would take it half a minute.
    """

    def read_keys(self) -> list[KeyPress]:
        return joined(super().read_keys())


def joined(keys: list[KeyPress]) -> list[KeyPress]:
    """Return the keys with each long run of characters as pastes.

    The character behind any other key stays one: with an Escape it may be a command.
    """
    found: list[KeyPress] = []
    for is_text, run in groupby(keys, lambda key: len(key.key) == 1 and key.data.isprintable()):
        pressed = list(run)
        if is_text and len(pressed) >= _BURST:
            if found:
                found.append(pressed.pop(0))
            text = "".join(key.data for key in pressed)
            pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
            found += (KeyPress(Keys.BracketedPaste, piece) for piece in pieces)
        else:
            found += pressed
    return found


class _Adapter(Completer):
    """Give our candidates to prompt_toolkit."""

    def __init__(self, complete: Callable[[str], Iterable[Candidate]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        """Yield the completions of the text before the cursor."""
        for candidate in self._complete(document.text_before_cursor):
            yield Completion(
                candidate.text, -candidate.replaces, candidate.text, display_meta=candidate.about
            )
