"""The prompt line itself, put together from its parts."""

import sys
from collections.abc import Callable, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from tulu_cli.chat.completion import Candidate
from tulu_cli.chat.input_history import InputHistory
from tulu_cli.chat.prompt_line.chips import Chips, ShowChips
from tulu_cli.chat.prompt_line.hang_up import ask
from tulu_cli.chat.prompt_line.keys import key_bindings
from tulu_cli.chat.prompt_line.patient_input import PatientInput
from tulu_cli.chat.prompt_line.recall import Recall
from tulu_cli.streams import terminal_safe

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
    """Reads what a user types on a terminal.

    `complete` gives the candidates for the text before the cursor; `toolbar` the line below the
    prompt for a width in columns.
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
            input=PatientInput(sys.stdin),
            output=self._output,
        )

    def read(self, default: str = "") -> str:
        """What was typed, whole; "" for a line that Ctrl-C gave up.

        Raises KeyboardInterrupt for a Ctrl-C on an empty line and EOFError for a Ctrl-D.
        """
        text = self._chips.expand(ask(self._session, default=default))
        if text.strip():
            self._history.add(text)
        return text

    def confirm(self, question: str) -> bool:
        """Whether the answer is yes. What is typed here is not kept."""
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
    """What stands before a line of the text, and before a row that only continues one."""
    return [("class:prompt", _CONTINUATION if wraps == 0 else " " * len(_CONTINUATION))]


class _Output(Vt100_Output):
    """A terminal that is never asked where its cursor is: the answer comes among the keys.

    prompt_toolkit shows no toolbar before it knows how many rows there are below the cursor; of
    one it can be sure.
    """

    def get_rows_below_cursor_position(self) -> int:
        return 1


class _Adapter(Completer):
    """Our candidates, as prompt_toolkit's."""

    def __init__(self, complete: Callable[[str], Iterable[Candidate]]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        """For the text before the cursor."""
        for candidate in self._complete(document.text_before_cursor):
            yield Completion(
                candidate.text, -candidate.replaces, candidate.text, display_meta=candidate.about
            )
