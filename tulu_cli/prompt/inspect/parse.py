"""A prompt's text back into messages: the inverse of rendering, for templates with fixed marks."""

from collections.abc import Sequence

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.grammar import (
    ASKED,
    END,
    ROLES,
    START,
    Grammar,
    common_beginning,
    signs_in,
)
from tulu_cli.prompt.render import Render


def parse_prompt(text: str, grammar: Grammar, render: Render) -> Conversation:
    """Return the messages that `render` makes `text` of, with or without a generation prompt.

    A last message of the assistant without its end token is taken as it is. Raise BadInput where
    the text is none of the template's, which is found out by rendering again, and where it cannot
    be told which conversation it is of: a content holds what the template writes between two turns,
    or another conversation gives the same text.
    """
    if not grammar.marks_turns:
        raise BadInput(
            "The chat template cannot be read back: it marks no turns, or refuses all that it was "
            "tried with."
        )
    messages: Conversation = ()
    for weak in (False, True):  # white space is a mark of turns only if nothing else is one
        messages, closed = walk(text, grammar, weak=weak)
        answered = messages[-1:] and messages[-1].role == "assistant"
        if answered and rendered(messages[:-1], render, asked=True) == text:
            messages, closed = messages[:-1], True  # that was the generation prompt
        elif empty_last(messages) and same(text, messages[:-1], render, closed=True):
            messages = messages[:-1]
        if same(text, messages, render, closed=closed):
            moved = system_first(messages)
            if moved != messages and same(text, moved, render, closed=closed):
                messages = moved  # the template writes it in another place
            refuse_marks(messages, grammar)
            refuse_ambiguous(text, messages, grammar, render)
            return messages
    at = furthest(text, messages, render)
    where = f" from character {at:,} on ({text[at : at + 20]!r})" if at else ""
    raise BadInput(f"The text is not a prompt of this chat template{where}.")


def empty_last(messages: Conversation) -> bool:
    """Return True if the last message has no text."""
    return bool(messages) and not messages[-1].content


def system_first(messages: Conversation) -> Conversation:
    """Return the messages with those of the system before the others."""
    return tuple(sorted(messages, key=lambda message: message.role != "system"))


def refuse_marks(messages: Conversation, grammar: Grammar) -> None:
    """Raise BadInput if a content holds a sign that the template writes between turns."""
    for index, message in enumerate(messages):
        found = next((sign for sign in signs_in(message.content) if sign in grammar.signs), None)
        if found is not None:
            raise BadInput(
                f"It cannot be told which conversation the text is of: messages[{index}] would "
                f"hold {found!r}, which the chat template writes between turns."
            )


def refuse_ambiguous(text: str, messages: Conversation, grammar: Grammar, render: Render) -> None:
    """Raise BadInput if a message can be read as one of another role and the rest of it."""
    for (before, after), marks in grammar.between.items():
        if before == after or before not in ROLES or after not in ROLES:
            continue
        for index, message in enumerate(messages):
            for mark in marks:
                head, found, tail = message.content.partition(mark) if mark else ("", "", "")
                if message.role != after or not found or not head:
                    continue
                two = (Message(before, head), Message(after, tail))
                others = (*messages[:index], *two, *messages[index + 1 :])
                if same(text, others, render, closed=True):
                    raise BadInput(
                        f"It cannot be told which conversation the text is of: messages[{index}] "
                        f"can be one of the {after}, or one of the {before} before it."
                    )


def walk(text: str, grammar: Grammar, *, weak: bool) -> tuple[Conversation, bool]:
    """Read from mark to mark, always to the nearest one; and whether the last turn is closed.

    Marks of white space count only if `weak`.
    """
    messages: list[Message] = []
    role, place = START, 0
    while True:
        after = grammar.after(role)
        marks = [pair for pair in after if weak or role == START or pair[0].strip()]
        mark, following, at = nearest(text, place, marks, start=role == START)
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
        if mark.strip() and mark in rest:
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
    return max(len(common_beginning((text, one))) for one in made)


def rendered(messages: Conversation, render: Render, *, asked: bool) -> str | None:
    """Return the prompt of the messages, or None if the template refuses them."""
    try:
        return render(messages, asked=asked) if messages else None
    except BadInput:
        return None
