"""A prompt's text back into messages: the inverse of rendering, for templates with fixed marks."""

from collections.abc import Sequence

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.grammar import ASKED, END, START, Grammar
from tulu_cli.prompt.render import Render


def parse_prompt(text: str, grammar: Grammar, render: Render) -> Conversation:
    """Return the messages that `render` makes `text` of, with or without a generation prompt.

    A last message of the assistant without its end token is taken as it is. Raise BadInput where
    the text is none of the template's: it is rendered again to make sure.
    """
    if not any(text.strip() for texts in grammar.between.values() for text in texts):
        raise BadInput(
            "The chat template cannot be read back: it marks no turns, or refuses all that it was "
            "tried with."
        )
    messages, closed = walk(text, grammar)
    if messages and not messages[-1].content and same(text, messages[:-1], render, closed=True):
        return messages[:-1]  # the empty one is the generation prompt
    if same(text, messages, render, closed=closed):
        return messages
    at = furthest(text, messages, render)
    where = f" from character {at:,} on ({text[at : at + 20]!r})" if at else ""
    raise BadInput(f"The text is not a prompt of this chat template{where}.")


def walk(text: str, grammar: Grammar) -> tuple[Conversation, bool]:
    """Read from mark to mark, always to the nearest one; and whether the last turn is closed."""
    messages: list[Message] = []
    role, place = START, 0
    while True:
        after = grammar.after(role)
        mark, following, at = nearest(text, place, after, start=role == START)
        if not following:
            break
        if role != START:
            messages.append(Message(role, text[place:at]))
        role, place = following, at + len(mark)
    if role == START:
        return (), False
    content, closed = last_content(text[place:], after)
    if content or closed:  # else it is a generation prompt
        messages.append(Message(role, content))
    return tuple(messages), closed


def nearest(
    text: str, place: int, after: Sequence[tuple[str, str]], *, start: bool
) -> tuple[str, str, int]:
    """Return the nearest mark, the longest of those, with what follows it and where it is."""
    best = ("", "", len(text) + 1)
    for mark, following in after:
        if following in (END, ASKED) or (not mark and not start):
            continue
        at = (0 if text.startswith(mark) else -1) if start else text.find(mark, place)
        if 0 <= at < best[2]:  # the marks come longest first
            best = (mark, following, at)
    return best


def last_content(rest: str, after: Sequence[tuple[str, str]]) -> tuple[str, bool]:
    """Return the content of the last message, and whether its turn is closed."""
    ends = [mark for mark, following in after if following in (END, ASKED)]
    for mark in filter(None, ends):
        if rest.endswith(mark):
            return rest[: -len(mark)], True
    for mark, _ in after:
        if mark and mark in rest:
            return rest.partition(mark)[0], True  # what stands behind it is an error
    return rest, "" in ends


def same(text: str, messages: Conversation, render: Render, *, closed: bool) -> bool:
    """Return True if the messages render to the text, or to a longer one if the last is open."""
    is_open = not closed and bool(messages) and messages[-1].role == "assistant"
    for asked in (False, True):
        made = rendered(messages, render, asked=asked)
        if made == text or (is_open and made is not None and made.startswith(text)):
            return True
    return False


def furthest(text: str, messages: Conversation, render: Render) -> int:
    """Return where the text departs from what its messages render to."""
    made = [rendered(messages, render, asked=asked) or "" for asked in (False, True)]
    return max(common(text, one) for one in made)


def common(one: str, other: str) -> int:
    """Return the length of the longest common beginning of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def rendered(messages: Conversation, render: Render, *, asked: bool) -> str | None:
    """Return the prompt of the messages, or None if the template refuses them."""
    try:
        return render(messages, asked=asked) if messages else None
    except BadInput:
        return None
