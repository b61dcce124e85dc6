"""Sameness with transformers over the habits of many templates: text and ids, or both refuse."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tulu_cli.errors import BadInput
from tulu_cli.prompt import encode_chat, render_chat

from .habits import HABITS, NAMES, source
from .habits.talks import Talk, as_parts, examples, talks, tool
from .pairs import Pair, turns

OTHERS = ("tulu", "demo", "chatml", "phi")
# Words out of control tokens: with a space between them they never make a whole one.
PIECES = (
    *("s", "code", "filename", "channel", "message", "start", "user", "end", "im", "<", "|"),
    *("assistant", "system", "role", "think", "tool", "INST", "endoftext", "im_start", "/no"),
)
fragments = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(" ".join)
others = st.text("abZ é\n\t'\"\\{}%/😀\U000f0000", max_size=8)
words = st.one_of(fragments, others)


def by_transformers(pair: Pair, talk: Talk, options: dict[str, Any]) -> Any:
    """The text and the ids, or None if it refuses."""
    try:
        return pair.reference(talk.messages, **talk.options, **options)
    except Exception:  # a template fails there with whatever it does
        return None


def by_us(pair: Pair, talk: Talk, options: dict[str, Any]) -> Any:
    """The text and the ids, or None if we refuse."""
    try:
        text = render_chat(pair.ours, talk.messages, **talk.options, **options)
        return text, encode_chat(pair.ours, talk.messages, **talk.options, **options)
    except BadInput:
        return None


def assert_same(pair: Pair, name: str, talk: Talk, **options: Any) -> Any:
    options["template"] = source(name)
    theirs = by_transformers(pair, talk, options)
    assert by_us(pair, talk, options) == theirs
    return theirs


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@examples(6)
def test_any_conversation(
    habits: dict[str, Pair], pairs: dict[str, Pair], name: str, data: st.DataObject
) -> None:
    talk = data.draw(talks(HABITS[name].takes, lambda _place: words))
    kind = data.draw(st.sampled_from([name, *OTHERS]))
    end = data.draw(st.sampled_from(["asked", "open", "closed"]))
    assume(end != "open" or talk.messages[-1].role == "assistant")
    options = {"continue_final": end == "open", "add_generation_prompt": end == "asked"}
    assert_same(habits[name] if kind == name else pairs[kind], name, talk, **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_plainest_conversation_is_rendered(habits: dict[str, Pair], name: str) -> None:
    for talk in (turns("Hi"), turns("Hi", "Ho"), turns("Hi", "Ho", "Hu")):
        parts = [as_parts(m) for m in talk] if "parts" in HABITS[name].takes else talk
        assert assert_same(habits[name], name, Talk(tuple(parts)))


@pytest.mark.parametrize("kind", ["own", "demo", "phi"])
@pytest.mark.parametrize("name", [name for name in NAMES if "tools" in HABITS[name].takes])
def test_a_required_parameter_is_looked_up_by_its_name(
    habits: dict[str, Pair], pairs: dict[str, Pair], name: str, kind: str
) -> None:
    pair = habits[name] if kind == "own" else pairs[kind]
    for word in ("channel", "message", "start", "code", "filename", "end", "s", "<", "|"):
        schema = tool(("f", "About.", word, word, word))
        schema["function"]["parameters"]["required"] = [word, "channel", "message", "start"]
        assert_same(pair, name, Talk(tuple(turns("Hi")), [schema]))


@pytest.mark.parametrize("kind", ["own", "demo", "phi"])
@pytest.mark.parametrize("name", ["slices", "llama2", "set_blocks", "deepseek_r1", "qwen3"])
def test_a_content_that_is_compared_measured_or_cut(
    habits: dict[str, Pair], pairs: dict[str, Pair], name: str, kind: str
) -> None:
    pair = habits[name] if kind == "own" else pairs[kind]
    for word in ("s", "<", "|>", "im", "end", "<s", "s>", "/no", "/no think", "im_start", "<|im_"):
        for talk in (turns(word), turns(word, word, word), turns("Hi", f"<think>{word}</think>a")):
            assert_same(pair, name, Talk(tuple(talk)))
