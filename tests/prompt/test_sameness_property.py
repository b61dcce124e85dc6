"""Sameness with transformers, and safety, for any conversation at all."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.prompt import encode_chat, render_chat
from tulu_cli.prompt.encode import encode_renamed

from .pairs import Pair
from .strategies import conversations, nasty, texts

KINDS = ("tulu", "demo", "chatml", "phi", "llama2", "unigram")
some = settings(deadline=None, max_examples=60)


def is_harmless(pair: Pair, messages: list[Message]) -> bool:
    """True where no control token can come of the contents (hypothesis tries texts it sees)."""
    texts = "".join(message.content for message in messages)
    return len(pair.ours.control_texts.split(texts)) == 1


def count_controls(pair: Pair, messages: list[Message]) -> int:
    """The number of control tokens in the prompt."""
    return sum(i in pair.ours.special_ids for i in encode_chat(pair.ours, messages))


@pytest.mark.parametrize("kind", KINDS)
@given(messages=conversations(texts), generation=st.booleans())
@some
def test_same_ids_for_any_text(
    pairs: dict[str, Pair], kind: str, messages: list[Message], generation: bool
) -> None:
    assume(is_harmless(pairs[kind], messages))
    pairs[kind].assert_same(messages, add_generation_prompt=generation)


@pytest.mark.parametrize("kind", KINDS)
@given(messages=conversations(nasty))
@some
def test_same_text_and_no_control_token_from_it(
    pairs: dict[str, Pair], kind: str, messages: list[Message]
) -> None:
    pair = pairs[kind]
    text, ids = pair.reference(messages)
    assert render_chat(pair.ours, messages) == text
    harmless = [replace(message, content="x") for message in messages]
    assert count_controls(pair, messages) == count_controls(pair, harmless)
    if sum(i in pair.ours.special_ids for i in ids) == count_controls(pair, harmless):
        assert encode_chat(pair.ours, messages) == ids


# The demo model's vocabulary lacks a few bytes, and drops them.
@pytest.mark.parametrize("kind", ["tulu", "chatml"])
@given(messages=conversations(nasty))
@some
def test_ids_spell_the_text(pairs: dict[str, Pair], kind: str, messages: list[Message]) -> None:
    ours = pairs[kind].ours
    ids = encode_chat(ours, messages)
    assert ours.decode(ids, skip_special_tokens=False) == render_chat(ours, messages)


@pytest.mark.parametrize("kind", KINDS)
@given(messages=conversations(nasty))
@some
def test_second_tokenizer_agrees_with_the_first(
    pairs: dict[str, Pair], kind: str, messages: list[Message]
) -> None:
    pair = pairs[kind]
    text, ids = pair.reference(messages)
    # Every control token in the text is taken as the template's: then nothing differs.
    assume("＜" not in text)
    assert encode_renamed(pair.ours, pair.ours.control_texts.split(text)) == ids


@pytest.mark.parametrize("kind", KINDS)
@given(messages=conversations(texts))
@some
def test_same_when_continuing_any_text(
    pairs: dict[str, Pair], kind: str, messages: list[Message]
) -> None:
    assume(is_harmless(pairs[kind], messages))
    pairs[kind].assert_same(messages, continue_final=True)


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
@some
def test_same_raw_ids_for_any_text(pairs: dict[str, Pair], kind: str, text: str) -> None:
    ours = pairs[kind].ours
    assume(not text.startswith(ours.bos_token or "no token"))  # it would be doubled
    assert ours.encode_raw(text) == tuple(pairs[kind].theirs(text).input_ids)
