"""What a rule says, and what it is shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.grammar import role_markers
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.tokenizer import Tokenizer

Severity = Literal["error", "warning", "note"]

# Contents of the conversations that rules try a template with.
SYSTEM, ASKED, ANSWERED = "Be brief.", "How are you?", "Fine, thank you."
USER = Message("user", ASKED)
ANSWER = Message("assistant", ANSWERED)
TURN: Conversation = (USER, ANSWER)


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the report. `place` is the conversation that it is about, empty for none."""

    code: str
    severity: Severity
    message: str
    fix: str
    place: str = ""


@dataclass(frozen=True)
class LintTarget:
    """A template with its tokens. `end_token_ids` are those of the model's generation_config."""

    writer: PromptWriter
    tokenizer: Tokenizer | None = None
    end_token_ids: tuple[int, ...] = ()

    @property
    def eos(self) -> str | None:
        """Return the end token that the template is given."""
        return self.writer.tokens.get("eos_token")

    @property
    def bos(self) -> str | None:
        """Return the begin token that the template is given."""
        return self.writer.tokens.get("bos_token")

    @cached_property
    def closing(self) -> str:
        """Return the text after an answer at the end of a conversation."""
        _, content, closing = (self.text(*TURN) or "").rpartition(ANSWERED)
        return closing if content else ""

    @cached_property
    def following(self) -> str:
        """Return the text between an answer and the next message."""
        text = self.text(*TURN, Message("user", SYSTEM)) or ""
        return text.rpartition(ANSWERED)[2].partition(SYSTEM)[0]

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Return the plain texts that announce a turn."""
        return role_markers(self.writer.grammar, self.writer.vocabulary.control_texts)

    def text(self, *messages: Message, asked: bool = False) -> str | None:
        """Return the prompt of a conversation, or None if the template refuses it."""
        try:
            return self.writer.render(messages, asked=asked)
        except BadInput:
            return None


Rule = Callable[[LintTarget], Iterator[Finding]]
