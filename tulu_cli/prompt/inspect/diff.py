"""How two chat templates differ, on conversations that bring out what templates do differently."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.writer import PromptWriter


def turns(*contents: str, system: str | None = None) -> Conversation:
    """Return a conversation of these contents, the user first."""
    roles = ("user", "assistant")
    said = [Message(roles[index % 2], content) for index, content in enumerate(contents)]
    return (*(() if system is None else (Message("system", system),)), *said)


_CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
# Name -> messages, and whether a generation prompt is asked for.
PROBES: dict[str, tuple[Conversation, bool]] = {
    "a question": (turns("Hi"), True),
    "no generation prompt": (turns("Hi"), False),
    "an answer": (turns("Hi", "Hello"), False),
    "a second turn": (turns("Hi", "Hello", "Bye"), True),
    "a system message": (turns("Hi", "Hello", system="Be brief."), False),
    "a system message alone": ((Message("system", "Be brief."),), True),
    "an empty question": (turns(""), True),
    "an empty answer": (turns("Hi", ""), False),
    "white space around": (turns(" \n Hi \n ", "\n\nHello\n"), False),
    "thoughts": (
        turns("Why?", "<think>\nHm.\n</think>\n\nSo.", "And?", "<think>x</think>y"),
        False,
    ),
    "two questions": ((Message("user", "Hi"), Message("user", "Hello?")), True),
    "the assistant first": ((Message("assistant", "Hello"), Message("user", "Hi")), True),
    "a tool call": (
        (
            Message("user", "Weather?"),
            Message("assistant", "", {"tool_calls": [_CALL]}),
            Message("tool", "21 degrees", {"name": "weather"}),
        ),
        True,
    ),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One probe by both templates: prompts, or the sentences with which they refuse it."""

    probe: str
    left: str
    right: str

    @property
    def same(self) -> bool:
        """Return True if both templates do the same."""
        return self.left == self.right

    def lines(self, left: str, right: str) -> list[str]:
        """Return the difference as `diff -u` shows it, with these names."""
        texts = (_lines(self.left), _lines(self.right))
        return list(unified_diff(*texts, left, right, lineterm=""))


def compare(left: PromptWriter, right: PromptWriter) -> Iterator[Comparison]:
    """Compare both templates on each probe."""
    for name, (messages, asked) in PROBES.items():
        texts = (_prompt(writer, messages, asked=asked) for writer in (left, right))
        yield Comparison(name, *texts)


def _prompt(writer: PromptWriter, messages: Conversation, *, asked: bool) -> str:
    try:
        return writer.render(messages, asked=asked)
    except BadInput as error:
        return f"({error})"


def _lines(text: str) -> list[str]:
    """Lines with their ends in sight, as that is where templates differ."""
    return [line.replace("\n", "\\n") for line in text.splitlines(keepends=True)]
