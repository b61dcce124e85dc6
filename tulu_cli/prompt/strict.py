"""Refusing a message that pretends to be another one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.control import ControlTexts
from tulu_cli.prompt.grammar import Grammar, learn, role_markers
from tulu_cli.prompt.render import render_template


def find_markers(messages: Sequence[Message], markers: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Each message's number with each marker that its content holds."""
    for index, message in enumerate(messages):
        yield from ((index, marker) for marker in markers if marker in message.content)


def refuse_markers(
    messages: Sequence[Message], source: str, trusted: Mapping[str, Any], control: ControlTexts
) -> None:
    """Raise BadInput where a content holds a role marker or a control token of the template."""
    named = tuple(sorted((name, text) for name, text in trusted.items() if isinstance(text, str)))
    markers = markers_of(source, named, control)
    for index, marker in find_markers(messages, markers):
        raise BadInput(
            f"messages[{index}].content holds {marker!r}, which begins or ends a turn in this "
            "chat template, and --strict-roles is on: remove it from the message."
        )


@lru_cache(maxsize=16)
def markers_of(
    source: str, named: tuple[tuple[str, str], ...], control: ControlTexts
) -> tuple[str, ...]:
    """The role markers of a template, and the control tokens that it writes between messages."""
    grammar = learn_source(source, dict(named))
    written = [text for texts in grammar.between.values() for text in texts]
    tokens = {token for text in written for token in control.split(text)[1::2]}
    return (*role_markers(grammar, control), *sorted(tokens))


def learn_source(source: str, named: Mapping[str, Any]) -> Grammar:
    """The grammar of a template's source with these variables."""

    def render(messages: Sequence[Message], *, asked: bool) -> str:
        data = [{"role": message.role, "content": message.content} for message in messages]
        variables = {**named, "messages": data, "add_generation_prompt": asked}
        return render_template(source, {"tools": None, "documents": None} | variables)

    return learn(render)
