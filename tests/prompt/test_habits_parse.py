"""A prompt read back, over the habits of many templates: it is what it was made of, or refused."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.parse import parse_prompt
from tulu_cli.prompt.inspect.writer import PromptWriter

from .habits import HABITS, NAMES, source
from .habits.talks import Talk, as_parts, examples, plain_talks, talks
from .pairs import Pair, turns

plain = st.text("abé .,\n?!(1", min_size=1, max_size=12).map(lambda text: f"x{text}y")
# What stands between the turns of one template or another, beside its control tokens.
MARKS = (
    *("<think>", "</think>", "\n", "\n\n", " ", "[INST]", "### Response:\n", " USER: ", "USER"),
    *("user", "assistant", "<tool_response>", "<<SYS>>", "<|", "|>", "<|assistant|>\n", " /last"),
)


@cache
def writer_of(pair: Pair, name: str) -> PromptWriter:
    return PromptWriter(pair.ours, template=source(name))


def parsed(writer: PromptWriter, text: str) -> list[Message] | None:
    """The messages, or None if the text is refused."""
    try:
        return list(parse_prompt(text, writer.grammar, writer.render))
    except BadInput:
        return None


def rendered(writer: PromptWriter, talk: Talk, *, asked: bool) -> str | None:
    try:
        return writer.render(talk.messages, asked=asked, tools=talk.tools)
    except BadInput:
        return None


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), asked=st.booleans())
@examples(5)
def test_a_plain_conversation(
    habits: dict[str, Pair], name: str, data: st.DataObject, asked: bool
) -> None:
    writer = writer_of(habits[name], name)
    talk = data.draw(plain_talks(HABITS[name].takes, lambda _place: plain))
    text = rendered(writer, talk, asked=asked)
    assert text is not None
    found = parsed(writer, text)
    assert found == [m.as_text() for m in talk.messages] or (
        found is None and not HABITS[name].parsed
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_generation_prompt_is_no_turn_of_the_assistant(
    habits: dict[str, Pair], name: str
) -> None:
    writer = writer_of(habits[name], name)
    hello = turns("Hello")
    asking = [as_parts(m) for m in hello] if "parts" in HABITS[name].takes else hello
    text = writer.render(asking, asked=True)
    assert parsed(writer, text) in (hello, None)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), asked=st.booleans())
@examples(5)
def test_marks_make_no_other_prompt(
    habits: dict[str, Pair], name: str, data: st.DataObject, asked: bool
) -> None:
    """Contents that hold marks can give a prompt that is another conversation's as well.

    No reader can tell which one it was made of. What is read is one that gives this very text.
    """
    writer = writer_of(habits[name], name)
    pieces = st.sampled_from([*MARKS, *HABITS[name].controls])
    nasty = st.lists(st.one_of(pieces, plain), max_size=4).map("".join)
    talk = data.draw(talks(HABITS[name].takes, lambda _place: nasty))
    text = rendered(writer, talk, asked=asked)
    found = parsed(writer, text) if text else None
    if text and found is not None and found != [m.as_text() for m in talk.messages]:
        read = [as_parts(m) for m in found] if "parts" in HABITS[name].takes else found
        again = [rendered(writer, Talk(tuple(read)), asked=wanted) for wanted in (True, False)]
        assert text in again


def test_most_templates_are_to_be_read_back() -> None:
    assert sum(habit.parsed for habit in HABITS.values()) >= 25
