"""Where each turn stands in a prompt, and which characters a model learns from.

Training on conversations counts the loss on what the assistant writes, its end token included.
A template may say which text that is with `{% generation %}`; else it is found out by rendering
the beginnings of the conversation, or from where the contents stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.render import Render
from tulu_cli.prompt.spoofing import private_characters

Source = Literal["generation", "prefixes", "contents", "none"]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """The characters of message `index`, or with index None of what no message says.

    That is the generation prompt at the end, or a system message of the template's own.
    """

    role: str
    index: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A prompt with its turns and its learnt characters; `source` says how these were found."""

    text: str
    turns: tuple[Turn, ...]
    learnt: tuple[Range, ...]
    source: Source


def dissect(
    render: Render,
    messages: Sequence[Message],
    text: str,
    *,
    asked: bool,
    generation: Sequence[Range] | None = None,
) -> Anatomy:
    """Return the anatomy of `text`, which `render` made of the messages.

    `asked` says that it ends with a generation prompt. `generation` are the characters that the
    template marks itself, None where it marks none. The last message may be open at its end.
    """
    beginnings = Beginnings(render, messages, text)
    contents = find_contents(render, messages, text, asked=asked)
    turns = beginnings.turns() or turns_around(messages, text, contents)
    if generation is not None:
        return Anatomy(text, turns, tuple(generation), "generation")
    wanted = [index for index, message in enumerate(messages) if message.role == "assistant"]
    answers = [beginnings.answer(index) for index in wanted]
    if None not in answers:
        return Anatomy(text, turns, tuple(filter(None, answers)), "prefixes")
    if contents:
        closing = closing_text(render)
        ranges = [with_closing(text, contents[index], closing) for index in wanted]
        return Anatomy(text, turns, tuple(ranges), "contents")
    return Anatomy(text, turns, (), "none")


class Beginnings:
    """The prompt of each beginning of a conversation, where it begins the whole prompt."""

    def __init__(self, render: Render, messages: Sequence[Message], text: str) -> None:
        self._render = render
        self._messages = messages
        self._text = text
        self._lengths: dict[tuple[int, bool], int | None] = {}

    def length(self, count: int, *, asked: bool) -> int | None:
        """Return the length of `count` messages, with the generation prompt if `asked`."""
        if count == 0 and not asked:
            return 0
        key = (count, asked)
        if key not in self._lengths:
            self._lengths[key] = self._length(count, asked=asked)
        return self._lengths[key]

    def _length(self, count: int, *, asked: bool) -> int | None:
        try:
            beginning = self._render(self._messages[:count], asked=asked)
        except BadInput:
            return None  # refused, or empty
        if beginning.startswith(self._text):  # all of it, or all but the end of an open message
            return len(self._text)
        return len(beginning) if self._text.startswith(beginning) else None

    def answer(self, index: int) -> Range | None:
        """Return the characters that the model writes as message `index`, or None if unknown."""
        start, end = self.length(index, asked=True), self.length(index + 1, asked=False)
        return None if start is None or end is None or end < start else (start, end)

    def turns(self) -> tuple[Turn, ...]:
        """Return all turns, or none if a beginning of the conversation renders otherwise."""
        lengths = [self.length(count, asked=False) for count in range(len(self._messages) + 1)]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths) or known != sorted(known):
            return ()
        roles = [message.role for message in self._messages]
        turns = [
            Turn(role, index, known[index], known[index + 1]) for index, role in enumerate(roles)
        ]
        return tuple(turns) + rest(known[-1], self._text)


def rest(start: int, text: str) -> tuple[Turn, ...]:
    """Return the generation prompt after the last message as a turn, if there is one."""
    return (Turn("generation prompt", None, start, len(text)),) if start < len(text) else ()


def find_contents(
    render: Render, messages: Sequence[Message], text: str, *, asked: bool
) -> dict[int, Range]:
    """Return where each content stands, by rendering it between two characters that mark it."""
    free = private_characters([message.content for message in messages], text)
    left, right = next(free), next(free)
    marked = [between(message, left, right) for message in messages]
    try:
        shown = render(marked, asked=asked)
    except BadInput:
        return {}
    if shown.replace(left, "").replace(right, "") != text:
        return {}  # it strips contents, or looks at them
    starts = [place - 2 * index for index, place in enumerate(places(shown, left))]
    ends = [place - 2 * index - 1 for index, place in enumerate(places(shown, right))]
    if len(starts) != len(ends):
        return {}  # it shows some of a content's parts
    ranges = list(zip(starts, ends, strict=True))
    if [text[start:end] for start, end in ranges] != [m.content for m in messages]:
        return {}  # it changes, drops or moves them
    return dict(enumerate(ranges))


def between(message: Message, left: str, right: str) -> Message:
    """Return the message with its content between two characters."""
    content, parts = f"{left}{message.content}{right}", message.extra.get("content")
    if not parts:
        return Message(message.role, content, message.as_text().extra)
    texts = [part["text"] for part in parts]
    texts[0] = left + texts[0]
    texts[-1] += right
    marked = [{**part, "text": text} for part, text in zip(parts, texts, strict=True)]
    return Message(message.role, content, {**message.extra, "content": marked})


def places(text: str, char: str) -> list[int]:
    """Return the places of a character in a text."""
    gaps = [len(part) + 1 for part in text.split(char)[:-1]]
    return [end - 1 for end in accumulate(gaps)]


def turns_around(
    messages: Sequence[Message], text: str, contents: dict[int, Range]
) -> tuple[Turn, ...]:
    """Turns that end where their content does: what is between two belongs to the later one."""
    if not contents:
        return ()
    ends = [contents[index][1] for index in range(len(messages))]
    starts = [0, *ends[:-1]]
    turns = [
        Turn(message.role, index, start, end)
        for index, (message, start, end) in enumerate(zip(messages, starts, ends, strict=True))
    ]
    return tuple(turns) + rest(ends[-1], text)


def with_own_opening(anatomy: Anatomy, opening: str) -> Anatomy:
    """Return the anatomy with an opening of the template's own, if it has one, as a system turn."""
    if not anatomy.turns or not opening:
        return anatomy
    first, *others = anatomy.turns
    if not anatomy.text.startswith(opening) or len(opening) >= first.end:
        return anatomy
    own = Turn("system", None, first.start, len(opening))
    return replace(anatomy, turns=(own, replace(first, start=own.end), *others))


def own_opening(render: Render, role: str) -> str:
    """Return what the template writes before a first message of that role, and before no later one.

    A default system message and a preamble are its own; the beginning of the turn is not. Return
    nothing where these cannot be told apart.
    """
    roles = {"user": ("user", "assistant", "user"), "assistant": ("user", "assistant")}.get(role)
    if roles is None:
        return ""
    talk = [Message(each, f"Zq{at}jx") for at, each in enumerate(roles)]
    try:
        alone = render([Message(role, "Zq0jx")], asked=False)
        closed, whole = render(talk[:-1], asked=False), render(talk, asked=False)
    except BadInput:
        return ""
    before, found, _ = alone.partition("Zq0jx")
    closing = closed.rpartition(talk[-2].content)[2]
    between_two = whole.rpartition(talk[-1].content)[0].rpartition(talk[-2].content)[2]
    if not found or not between_two.startswith(closing):
        return ""
    header = between_two[len(closing) :]
    return before.removesuffix(header) if before.endswith(header) else ""


def closing_text(render: Render) -> str:
    """Return the text that the template writes after the assistant's content at the end."""
    probe = "Zq0jx"
    try:
        text = render([Message("user", "."), Message("assistant", probe)], asked=False)
    except BadInput:
        return ""
    return text.rpartition(probe)[2]


def with_closing(text: str, content: Range, closing: str) -> Range:
    """Return the range of a content with the text that closes its turn, if that follows."""
    start, end = content
    for closed in (closing, closing.rstrip()):
        if text.startswith(closed, end):
            return start, end + len(closed)
    return content
