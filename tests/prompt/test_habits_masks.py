"""The loss mask over the habits of many templates: what a model says is learnt, and no more.

Every text of a conversation has a word of its own, so that the prompt shows where it stands.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.formats import Row
from tulu_cli.prompt.inspect.tokens import Explained, explain_row
from tulu_cli.prompt.inspect.writer import PromptWriter

from .habits import HABITS, NAMES, Habit, source
from .habits.talks import Talk, examples, plain_talks, talks
from .pairs import Pair

WORD = re.compile("Zq[a-z0-9]+jx")
SPACE, NO_MARK = re.compile(r"\s*"), re.compile("[^<#]*")  # behind an answer's last word
SAYS = ("content", "reasoning_content", "tool_calls", "name")
MARKING = ("generation_with_end", "generation_without_end")
DERIVED = [name for name in NAMES if name not in MARKING]


def words(place: str) -> st.SearchStrategy[str]:
    """Texts with the word of this place; an answer may think before it speaks."""
    word = f"Zq{place}jx"
    tails = st.sampled_from(["", ", b c.", "\nd", " (e)?"])
    said = tails.map(lambda tail: word + tail)
    if not place.startswith("answer"):
        return said
    thinking = f"<think>\nZqinner{place}jx\n</think>\n\n"
    return st.tuples(st.sampled_from(["", "", thinking]), said).map("".join)


def explained(pair: Pair, name: str, talk: Talk) -> Explained:
    writer = PromptWriter(pair.ours, template=source(name), kwargs=talk.options["kwargs"])
    rest = {"tools": talk.tools} if talk.tools else {}
    return explain_row(pair.ours, writer, Row(talk.messages, rest))


def words_of(message: Message) -> list[str]:
    """The words in what a message says, its calls included, but not in the names of things."""
    said = [value for key, value in message.as_dict().items() if key in SAYS]
    return WORD.findall(repr(said))


@dataclass
class Prompt:
    """An explained prompt, character by character."""

    text: str
    learnt: list[bool]
    tokens: list[tuple[int, int]]

    @classmethod
    def of(cls, result: Explained) -> "Prompt":
        assert "".join(token.piece for token in result.tokens) == result.text
        learnt: list[bool] = []
        tokens = []
        for token in result.tokens:
            tokens.append((len(learnt), len(learnt) + len(token.piece)))
            learnt += [token.learnt] * len(token.piece)
        return cls(result.text, learnt, tokens)

    def places(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where these words stand."""
        found = (re.finditer(re.escape(word), self.text) for word in words)
        return sorted(match.span() for matches in found for match in matches)

    def all_learnt(self, start: int, end: int) -> bool:
        return all(self.learnt[start:end])

    def none_learnt(self, start: int, end: int) -> bool:
        """Whether no token is learnt that stands within this range."""
        within = (at for at, to in self.tokens if start <= at and to <= end and at < to)
        return not any(self.learnt[at] for at in within)

    def shown(self, start: int, end: int) -> str:
        marked = (f"«{char}»" if self.learnt[at] else char for at, char in enumerate(self.text))
        whole = "".join(marked).replace("»«", "")
        return f"{self.text[start:end]!r} in {whole}"


def faults(habit: Habit, talk: Talk, prompt: Prompt) -> Iterator[str]:
    """What is wrong about the mask of a prompt."""
    for index, message in enumerate(talk.messages):
        own = prompt.places(words_of(message))
        if message.role != "assistant":
            yield from (
                f"learnt: {prompt.shown(*at)}" for at in own if any(prompt.learnt[slice(*at)])
            )
            continue
        yield from (f"not learnt: {prompt.shown(*at)}" for at in own if not prompt.all_learnt(*at))
        if own:
            yield from _end_faults(habit, talk, prompt, index, own[-1][1])
    for name in ("toolname", "toolabout", "toolfield", "toolenum", "title", "text"):
        for start, end in prompt.places([f"Zq{name}jx"]):
            if any(prompt.learnt[start:end]):
                yield f"learnt: {prompt.shown(start, end)}"


def _end_faults(habit: Habit, talk: Talk, prompt: Prompt, index: int, end: int) -> Iterator[str]:
    """What is wrong behind the last word of an answer, up to the first word of the next turn."""
    later = [prompt.places(words_of(m)) for m in talk.messages[index + 1 :]]
    starts = [at for places in later for at, _ in places if at >= end]
    following = min(starts, default=len(prompt.text))
    ends = habit.ends_of(last=index == len(talk.messages) - 1)
    calls = bool(talk.messages[index].extra.get("tool_calls"))
    if calls and habit.call_ends is not None:
        ends = habit.call_ends
    closed = end
    for token in ends:
        at = prompt.text.find(token, closed, following)
        if at < 0:
            return  # it is not closed here
        if not prompt.all_learnt(at, at + len(token)):
            yield f"end not learnt: {prompt.shown(at, at + len(token))}"
        closed = at + len(token)
    if calls and not ends:
        return  # where the call ends cannot be seen
    if not prompt.all_learnt(end, closed):
        yield f"not learnt: {prompt.shown(end, closed)}"
    tail = (SPACE if ends else NO_MARK).match(prompt.text, closed, following)
    closed = tail.end() if tail else closed
    roles = [m.role for m, places in zip(talk.messages[index + 1 :], later, strict=True) if places]
    if roles[:1] != ["assistant"] and not prompt.none_learnt(closed, following):
        yield f"learnt: {prompt.shown(closed, following)}"


def prompted(name: str, pair: Pair, talk: Talk, text: str) -> Iterator[tuple[int, int]]:
    """What a generation prompt gives of each answer's turn, as far as the prompt repeats it."""
    writer = PromptWriter(pair.ours, template=source(name), kwargs=talk.options["kwargs"])
    for index, message in enumerate(talk.messages):
        if message.role != "assistant":
            continue
        before = talk.messages[:index]
        try:
            asked, unasked = (
                writer.render(before, asked=wanted, tools=talk.tools) for wanted in (True, False)
            )
        except BadInput:
            continue
        if not asked.startswith(unasked) or not text.startswith(unasked):
            continue
        same = [one == other for one, other in zip(asked, text, strict=False)]
        given = asked[: [*same, False].index(False)]
        if given != asked:  # as far as the last control token of it
            pieces = pair.ours.control_texts.split(given)
            given = "".join(pieces[:-1])
        yield len(unasked), len(given)


def assert_right(name: str, pair: Pair, talk: Talk) -> None:
    try:
        result = explained(pair, name, talk)
    except BadInput:
        return  # as of a text for arguments, where the template looks at an object's items
    if result.source == "none":
        return
    prompt = Prompt.of(result)
    found = [*faults(HABITS[name], talk, prompt)]
    for start, end in prompted(name, pair, talk, prompt.text):
        if not prompt.none_learnt(start, end):
            found.append(f"generation prompt learnt: {prompt.shown(start, end)}")
    assert not found, found[0]


@pytest.mark.parametrize("name", DERIVED)
@given(data=st.data())
@examples(5)
def test_what_the_assistant_says_is_learnt(
    habits: dict[str, Pair], name: str, data: st.DataObject
) -> None:
    takes = HABITS[name].takes - {"odd"}
    assert_right(name, habits[name], data.draw(talks(takes, words)))


@pytest.mark.parametrize("name", [name for name in NAMES if HABITS[name].masked])
@given(data=st.data())
@examples(4)
def test_the_mask_of_a_plain_conversation_is_found(
    habits: dict[str, Pair], name: str, data: st.DataObject
) -> None:
    talk = data.draw(plain_talks(HABITS[name].takes, words))
    result = explained(habits[name], name, talk)
    learnt = result.mask()
    assert learnt is not None
    answered = any(message.role == "assistant" for message in talk.messages)
    assert any(learnt) == answered


@pytest.mark.parametrize("name", MARKING)
@given(data=st.data())
@examples(8)
def test_what_a_template_marks_is_what_transformers_learns(
    habits: dict[str, Pair], name: str, data: st.DataObject
) -> None:
    talk = data.draw(talks(HABITS[name].takes, words))
    pair, asked = habits[name], talk.messages[-1].role != "assistant"
    options: dict[str, Any] = {"chat_template": source(name), "add_generation_prompt": asked}
    theirs = pair.theirs.apply_chat_template(
        [message.as_dict() for message in talk.messages],
        return_dict=True,
        return_assistant_tokens_mask=True,
        **options,
    )
    assert explained(pair, name, talk).mask() == theirs["assistant_masks"]


def test_most_templates_are_to_have_a_mask() -> None:
    assert sum(habit.masked for habit in HABITS.values()) >= 32
