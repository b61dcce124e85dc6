"""Where the thoughts of a conversation stand in its prompt: a template may drop those of the past.

A thought is told by its signs, where the templates of the model name them, before what else the
message says; else by the characters that come from the message's own thought, which the traces of
a prompt tell (see `tracing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tulu_cli.core import Message, ThoughtFormat
from tulu_cli.errors import UsageError
from tulu_cli.prompt.inspect.spans import Anatomy, Range, Turn, says
from tulu_cli.prompt.thinking import THOUGHT_FIELDS, thought_format
from tulu_cli.prompt.tracing import plain, spans_of


@dataclass(frozen=True, slots=True)
class PromptThought:
    """The thought of message `index`: its characters with its signs, and those between them.

    Both are None where the message has one that the prompt does not show.
    """

    index: int
    whole: Range | None = None
    inner: Range | None = None


def signs_in(chat_template: str, response_template: Any) -> ThoughtFormat | None:
    """Return how a template writes thoughts, None where it names no two signs for them."""
    try:
        return thought_format({"default": chat_template}, response_template)
    except UsageError:
        return None


def has_thought(message: Message, signs: ThoughtFormat | None) -> bool:
    """Return True for a message that holds a thought, in a field of its own or in its text."""
    if any(message.extra.get(name) for name in THOUGHT_FIELDS):
        return True
    return signs is not None and signs.end in message.content


def thoughts_in(
    anatomy: Anatomy, messages: Sequence[Message], signs: ThoughtFormat | None
) -> tuple[PromptThought, ...]:
    """Return the thoughts of the assistant's messages: those that are shown, and those dropped."""
    turns = {turn.index: turn for turn in anatomy.turns}
    found = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        turn = turns.get(index)
        shown = None if turn is None else _in_turn(anatomy, turn, signs)
        if shown is not None:
            found.append(PromptThought(index, *shown))
        elif has_thought(message, signs):
            found.append(PromptThought(index))
    return tuple(found)


def _in_turn(
    anatomy: Anatomy, turn: Turn, signs: ThoughtFormat | None
) -> tuple[Range, Range] | None:
    """Return the characters of the thought in a turn, with its signs and without, None for none.

    One without an end stands in a message that the model is to go on with.
    """
    text = plain(anatomy.text)
    spans = [one for one in spans_of(anatomy.text) if turn.start <= one.start < turn.end]
    said = [one for one in spans if says(one, turn.index)]
    own = [one for one in said if one.origin.key in THOUGHT_FIELDS]
    begin = -1 if signs is None else text.find(signs.start, turn.start, turn.end)
    if signs is None or begin < 0:
        inner = (own[0].start, own[-1].end) if own else None
        return inner and (inner, inner)
    others = (one for one in said if one not in own)
    if any(text[one.start : min(one.end, begin)].strip() for one in others):
        return None  # the sign is a part of the answer
    inside = begin + len(signs.start)
    end = text.find(signs.end, inside, turn.end)
    if end < 0:
        return (begin, turn.end), (inside, turn.end)
    return (begin, end + len(signs.end)), (inside, end)
