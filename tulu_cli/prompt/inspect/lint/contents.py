"""Rules about conversations: contents that pretend to be turns, and roles out of order."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.grammar import find_markers
from tulu_cli.prompt.inspect.lint.finding import Finding, LintTarget


def lint_conversation(
    target: LintTarget, messages: Sequence[Message], place: str
) -> Iterator[Finding]:
    """T100 to T103 for one conversation, which `place` names."""
    control = target.writer.vocabulary.control_texts
    for index, marker in find_markers(messages, target.markers):
        yield Finding(
            "T100",
            "error",
            f"messages[{index}].content holds {marker}, which reads as the beginning of a turn.",
            "Remove it, or refuse it with --strict-roles.",
            place,
        )
    for index, message in enumerate(messages):
        for token in dict.fromkeys(control.split(message.content)[1::2]):
            yield Finding(
                "T101",
                "warning",
                f"messages[{index}].content holds the text of the control token {token}. tulu "
                "gives it to the model as text; other programs make the control token of it.",
                "Remove it, unless it is meant as text.",
                place,
            )
    yield from order(messages, place)
    try:
        target.writer.text(messages)
    except BadInput as error:
        yield Finding("T103", "error", str(error), "Change the conversation.", place)


def order(messages: Sequence[Message], place: str) -> Iterator[Finding]:
    """T102: turns that most models have never seen in this order."""
    roles = [message.role for message in messages if message.role != "system"]
    if roles[:1] == ["assistant"]:
        yield misplaced("The assistant speaks first.", place)
    for role in ("user", "assistant"):
        if any(pair == (role, role) for pair in pairwise(roles)):
            yield misplaced(f"Two turns of the role {role} follow one another.", place)
    if any(message.role == "system" for message in messages[1:]):
        yield misplaced("A system message stands behind the beginning.", place)


def misplaced(message: str, place: str) -> Finding:
    """Return the finding for roles out of order."""
    return Finding("T102", "warning", message, "Let user and assistant take turns.", place)
