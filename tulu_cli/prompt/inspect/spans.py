"""Where each turn stands in a prompt, and which characters a model learns from.

Training on conversations counts the loss on what the assistant writes, its end token included.
A template may say which text that is with `{% generation %}`; else it is found out from the prompts
of the beginnings of the conversation. An answer begins where the prompt that asks for it ends, and
ends where the prompt of the conversation up to it does.

A template may write an earlier turn in another way than the last one: without its thoughts, or with
another end token. Then the two prompts are compared from the last character on that came from the
same message, which the traces of a prompt tell (see `tracing`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.grammar import SIGN, common_beginning, without_thoughts
from tulu_cli.prompt.render import Render
from tulu_cli.prompt.tracing import Span, plain, spans_of

Source = Literal["generation", "prefixes", "contents", "none"]
Range = tuple[int, int]

# Keys of a message that name its sender: a template writes them before what was said.
_NAMES = frozenset(("role", "name", "tool_call_id"))
_OPEN_END = re.compile(r"[^\w\s>\])}]*[ \t]*$")
_QUESTION, _ANSWER, _NEXT = (
    Message(role, f"Zq{at}jx") for at, role in enumerate(("user", "assistant", "user"))
)


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
    """A prompt with its turns and its learnt characters.

    `source` says how these were found: by the template's own marks, by prompts that begin as this
    one does, or by where the contents stand. With `none` they are unknown, and `reason` is a
    sentence that says why.
    """

    text: str
    turns: tuple[Turn, ...]
    learnt: tuple[Range, ...]
    source: Source
    reason: str = ""


class Unknown(Exception):
    """Where an answer stands cannot be told; str() is a sentence that says why."""


def dissect(
    render: Render,
    messages: Sequence[Message],
    text: str,
    *,
    habits: "Habits",
    generation: Sequence[Range] | None = None,
) -> Anatomy:
    """Return the anatomy of `text`, the prompt of the messages.

    `render` and `text` have the traces of the messages. `generation` are the characters that the
    template marks itself, None where it marks none. The last message may be open at its end.
    """
    answers = Answers(render, messages, text, habits)
    turns = answers.turns()
    if generation is not None:
        return Anatomy(text, turns, tuple(generation), "generation")
    wanted = [index for index, message in enumerate(messages) if message.role == "assistant"]
    try:
        learnt = tuple(answers.find(index) for index in wanted)
    except Unknown as reason:
        return Anatomy(text, turns, (), "none", str(reason))
    if any(one[1] > next_one[0] for one, next_one in pairwise(learnt)):
        return Anatomy(text, turns, (), "none", "The template writes answers into one another.")
    return Anatomy(text, turns, learnt, "prefixes" if answers.exact else "contents")


class Habits:
    """What a template writes after an answer that others follow, seen from prompts of probes."""

    def __init__(self, render: Render) -> None:
        self._render = render

    @cached_property
    def closing(self) -> str:
        """Return the text that closes an answer before another turn, empty if it is unknown.

        Two texts that follow an answer, or a question, begin alike with what closes a turn, and
        may go on alike with what begins one, as the generation prompt does.
        """
        others = (
            self._after(_QUESTION, _ANSWER, asked=True),
            self._after(_QUESTION, asked=True),
            self._after(_QUESTION, _ANSWER, asked=False),
        )
        found = [self._without_beginning(same_beginning(self.following, one)) for one in others]
        return max(found, key=lambda one: len(one.strip()))

    @cached_property
    def following(self) -> str:
        """Return the text between an answer and the question after it, empty if it is unknown."""
        return self._after(_QUESTION, _ANSWER, _NEXT, asked=False)

    @property
    def closes_nothing(self) -> bool:
        """Return True if nothing stands between an answer and what begins the next turn."""
        return bool(self.following.strip()) and not self.closing.strip()

    @cached_property
    def always_asked(self) -> str:
        """Return the generation prompt of a template that writes it even if it is not asked to."""
        asked = self._after(_QUESTION, asked=True)
        if not asked or asked != self._after(_QUESTION, asked=False):
            return ""
        last = self._after(_QUESTION, _ANSWER, asked=False)
        if self.following.startswith(last):
            return ""
        closing = same_beginning(last, self.following)
        *before, begun = (None, *SIGN.finditer(closing))
        if begun and before[1:] and begun.group() in self._first_signs:
            closing = closing[: begun.start()]
        prompt = last[len(closing) :]
        return prompt if asked.endswith(prompt) else ""

    @cached_property
    def generation_prompt(self) -> str:
        """Return the text that asks for an answer, empty if none does."""
        asked, unasked = (self._after(_QUESTION, asked=asked) for asked in (True, False))
        if not unasked.strip():  # a turn may be closed only if something follows it
            unasked = same_beginning(asked, self._after(_QUESTION, _ANSWER, asked=True))
        return asked.removeprefix(unasked) if asked.startswith(unasked) else ""

    @property
    def _first_signs(self) -> list[str]:
        """Return the first two signs of a prompt; one of them begins a turn."""
        try:
            text = plain(self._render([_QUESTION], asked=False))
        except BadInput:
            return []
        return SIGN.findall(text)[:2]

    def _after(self, *messages: Message, asked: bool) -> str:
        """Return what stands after the last message, or before it and after the answer."""
        try:
            text = plain(self._render(messages, asked=asked))
        except BadInput:
            return ""
        if messages[-1] is _NEXT:
            text = text.rpartition(_NEXT.content)[0]
            return text.rpartition(_ANSWER.content)[2] if _ANSWER.content in text else ""
        return text.rpartition(messages[-1].content)[2]

    def _without_beginning(self, closing: str) -> str:
        """Return a text without what also begins a generation prompt, at its end."""
        prompt = self.generation_prompt or self.always_asked
        for length in range(min(len(prompt), len(closing)), 0, -1):
            if closing.endswith(prompt[:length]) and prompt[:length].strip():
                return closing[:-length]
        return closing


class Answers:
    """The answers of one conversation in its prompt."""

    def __init__(
        self, render: Render, messages: Sequence[Message], text: str, habits: Habits
    ) -> None:
        self._render = render
        self._messages = messages
        self._text = text
        self._plain = plain(text)
        self._habits = habits
        self._beginnings: dict[tuple[int, bool], str | None] = {}
        self.exact = True

    def beginning(self, count: int, *, asked: bool) -> str | None:
        """Return the prompt of the first `count` messages, or None if the template refuses it."""
        key = (count, asked)
        if key not in self._beginnings:
            try:
                self._beginnings[key] = self._render(self._messages[:count], asked=asked)
            except BadInput:
                self._beginnings[key] = None
        return self._beginnings[key]

    def find(self, index: int) -> Range:
        """Return the characters that the model writes as message `index`. Raise Unknown."""
        hull = self.hull(index)
        start, end = self._start(index, hull), self._end(index, hull)
        if end < start or (hull is not None and end < hull[1]):
            raise Unknown(f"messages[{index}] ends in another place than the text of its turn.")
        return start, end

    def hull(self, index: int) -> Range | None:
        """Return where the text of a message stands, None if it has none. Raise Unknown.

        What later turns repeat of it, as the name of a called function, is not counted.
        """
        spans = spans_of(self._text)
        mine = [at for at, span in enumerate(spans) if says(span, index)]
        message = self._messages[index]
        if not mine:
            if message.content.strip() or message.extra.get("tool_calls"):
                raise Unknown(f"The template does not show the text of messages[{index}].")
            return None
        prompt = self.beginning(index + 1, asked=False) or ""
        alone = sum(says(span, index) for span in spans_of(prompt))
        mine = mine[: alone or None]
        between = spans[mine[0] : mine[-1] + 1]
        if any(span.origin.message not in (index, None) for span in between):
            raise Unknown(f"The text of messages[{index}] stands in more than one place.")
        return between[0].start, between[-1].end

    def _start(self, index: int, hull: Range | None) -> int:
        """Return where the prompt that asks for message `index` ends."""
        prompt = self.beginning(index, asked=True) if index else None
        if prompt is None:
            return self._asked_start(index, hull)
        if self._plain.startswith(prompt):
            return len(prompt)
        if prompt.startswith(self._plain):  # an open message, cut before the header ends
            return len(self._plain)
        self.exact = False
        before = hull[0] if hull else len(self._plain)
        here, there = edge(self._text, index, before), edge(prompt, index, len(prompt))
        if here is None or there is None or here.origin.message != there.origin.message:
            raise Unknown(f"What stands before messages[{index}] is written in another way alone.")
        tail = prompt[there.end :]
        same = len(common_beginning((tail, self._plain[here.end :])))
        if same == len(tail):
            return here.end + same
        start = here.end + snapped(self._plain[here.end :], same)
        if hull is None or (start < hull[0] and without_thoughts(tail[start - here.end :])):
            return self._asked_start(index, hull)
        return min(start, hull[0])  # the prompt goes on with what is not here, as a thought

    def _asked_start(self, index: int, hull: Range | None) -> int:
        """Return where the generation prompt ends that stands before the text of an answer."""
        prompt = self._habits.generation_prompt or self._habits.always_asked
        if hull is None or not prompt.strip():
            raise Unknown(f"No prompt asks for messages[{index}].")
        self.exact = False
        before = edge(self._text, index, hull[0])
        first = before.end if before else 0
        place = self._plain.rfind(prompt, first, hull[0] + len(prompt))
        if place < 0:
            raise Unknown(f"messages[{index}] does not begin as the generation prompt asks for it.")
        return place + len(prompt)

    def _end(self, index: int, hull: Range | None) -> int:
        """Return where the turn of message `index` ends."""
        prompt = self.beginning(index + 1, asked=False)
        if prompt is None:
            raise Unknown(f"The template refuses the conversation up to messages[{index}].")
        if prompt.startswith(self._plain):  # all of it, or all but the end of an open message
            return len(self._plain) - self._asked_too_much(self._plain)
        if self._plain.startswith(prompt):
            end = len(prompt) - self._asked_too_much(plain(prompt))
            closing = self._habits.closing
            unclosed = end == (hull[1] if hull else end) and closing.strip()
            if unclosed and self._plain.startswith(closing, end):
                self.exact = False
                return end + len(closing)
            return end
        self.exact = False
        there = edge(prompt, None, len(prompt))
        if hull is None or there is None or there.origin.message != index:
            raise Unknown(f"What ends messages[{index}] cannot be told from what follows it.")
        tail, rest = plain(prompt)[there.end :], self._plain[hull[1] :]
        tail = tail[: len(tail) - self._asked_too_much(tail)]
        closing = self._habits.closing
        closes = bool(closing.strip())
        if rest.startswith(tail) and (tail.strip() or self._habits.closes_nothing):
            return hull[1] + len(tail)
        for same in (snapped(rest, len(common_beginning((tail, rest)))), 0):
            if closes and rest.startswith(closing, same):
                return hull[1] + same + len(closing)
        raise Unknown(f"What ends messages[{index}] cannot be told from what begins the next one.")

    def _asked_too_much(self, text: str) -> int:
        """Return the length of a generation prompt that stands at an end where none is asked."""
        prompt = self._habits.always_asked
        return len(prompt) if prompt and text.endswith(prompt) else 0

    def turns(self) -> tuple[Turn, ...]:
        """Return all turns, or none where they cannot be told apart.

        Where no end is known, what stands between two texts belongs to the later turn.
        """
        found: list[Turn] = []
        exact, place = self.exact, 0
        for index, message in enumerate(self._messages):
            try:
                hull = self.hull(index)
                try:
                    end = self._end(index, hull)
                except Unknown:
                    end = hull[1] if hull else place
            except Unknown:
                end = -1
            if end < place:
                found, place = [], 0
                break
            found.append(Turn(message.role, index, place, end))
            place = end
        self.exact = exact
        return (*found, *rest(place, self._plain)) if found else ()


def says(span: Span, index: int | None) -> bool:
    """Return True if a span is of what message `index` says, and not of its sender's name."""
    return span.origin.message == index and span.origin.key not in _NAMES


def edge(text: str, index: int | None, before: int) -> Span | None:
    """Return the last span before a character that is of another message's text than `index`."""
    spans = [span for span in spans_of(text) if span.end <= before and not says(span, index)]
    spans = [span for span in spans if span.origin.key not in _NAMES]
    return spans[-1] if spans else None


def same_beginning(one: str, other: str) -> str:
    """Return the common beginning of two texts, but for a part of a sign at its end."""
    return one[: snapped(one, len(common_beginning((one, other))))]


def snapped(text: str, place: int) -> int:
    """Return the last place up to this one that is not inside a sign or before its word."""
    if place >= len(text):
        return place
    for sign in SIGN.finditer(text):
        if sign.start() < place < sign.end():
            return sign.start()
    found = _OPEN_END.search(text, 0, place)
    return found.start() if found and found.group().strip() else place


def rest(start: int, text: str) -> tuple[Turn, ...]:
    """Return the generation prompt after the last message as a turn, if there is one."""
    return (Turn("generation prompt", None, start, len(text)),) if start < len(text) else ()


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
