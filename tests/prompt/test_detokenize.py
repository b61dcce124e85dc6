"""The streamed text adds up to the decoded text, in whole characters, up to a stop string."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tulu_cli.prompt import TextStream, Tokenizer

from .pairs import Pair
from .strategies import nasty

KINDS = ("tulu", "demo", "chatml", "llama2", "unigram")
some = settings(deadline=None, max_examples=80)
seeds = st.integers(0, 2**32)


def stream(
    tokenizer: Tokenizer, ids: Sequence[int], stop: tuple[str, ...] = ()
) -> tuple[list[str], str | None]:
    """The pieces, the last one from finish(), and the stop string."""
    text_stream = TextStream(tokenizer, stop)
    pieces = [text_stream.push(token_id) for token_id in ids]
    return [*pieces, text_stream.finish()], text_stream.stopped


def random_ids(tokenizer: Tokenizer, seed: int) -> list[int]:
    """Tokens in no sensible order, special ones and ones that do not exist among them."""
    draw = random.Random(seed)
    size = tokenizer.vocab_size
    low = [draw.randrange(min(size, 270)) for _ in range(draw.randrange(40))]  # mostly bytes
    return draw.choice([low, [draw.randrange(size + 50) for _ in range(draw.randrange(80))]])


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    """The slow way: the text before the stop string whose last character comes first."""
    for end in range(1, len(text) + 1):
        found = [word for word in stop if text[:end].endswith(word)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@pytest.mark.parametrize("kind", KINDS)
@given(text=nasty)
@some
def test_adds_up_for_any_text(pairs: dict[str, Pair], kind: str, text: str) -> None:
    ours = pairs[kind].ours
    ids = ours.encode_raw(text)
    pieces, stopped = stream(ours, ids)
    assert "".join(pieces) == ours.decode(ids)
    assert stopped is None


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@some
def test_adds_up_for_any_tokens(pairs: dict[str, Pair], kind: str, seed: int) -> None:
    ours = pairs[kind].ours
    ids = random_ids(ours, seed)
    pieces, _ = stream(ours, ids)
    assert "".join(pieces) == ours.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
@given(text=nasty, stop=st.lists(st.one_of(nasty, st.sampled_from("ae<| \n")), max_size=3))
@example(text="abcd", stop=["abcd", "bc"])
@example(text="the end", stop=["end", "the end"])
@some
def test_ends_before_the_stop_string(
    pairs: dict[str, Pair], kind: str, text: str, stop: list[str]
) -> None:
    ours = pairs[kind].ours
    ids = ours.encode_raw(text)
    words = tuple(word for word in stop if word)
    pieces, stopped = stream(ours, ids, tuple(stop))
    assert ("".join(pieces), stopped) == cut(ours.decode(ids), words)


def test_shows_whole_characters_as_soon_as_they_are_there(tulu: Pair) -> None:
    ids = tulu.ours.encode_text("a 🧑🏽‍🚀 ok")
    pieces, _ = stream(tulu.ours, ids)
    assert "\ufffd" not in "".join(pieces)
    assert sum(piece == "" for piece in pieces[:-1]) > 3  # inside the characters
    assert pieces[-2:] == [" ok", ""]


def test_incomplete_character_at_the_end(pairs: dict[str, Pair]) -> None:
    for kind in ("tulu", "llama2"):
        ours = pairs[kind].ours
        ids = ours.encode_text("ok 🧑")[:-1]
        pieces, _ = stream(ours, ids)
        assert pieces[-1].endswith("\ufffd")
        assert "\ufffd" not in "".join(pieces[:-1])


def test_replacement_character_that_the_model_wrote(pair: Pair) -> None:
    ids = pair.ours.encode_text("\ufffd\ufffd a\ufffd")
    assert "".join(stream(pair.ours, ids)[0]) == pair.ours.decode(ids)


def test_special_tokens_and_unknown_ids_give_no_text(tulu: Pair) -> None:
    stream = TextStream(tulu.ours)
    assert [stream.push(i) for i in (128001, 9906, 128000, 10**6, -1, 1917)] == [
        *("", "Hello", "", "", "", " world")
    ]
    assert stream.finish() == ""


def test_stop_string_over_several_tokens_is_never_shown(tulu: Pair) -> None:
    ids = tulu.ours.encode_text("one\n\nUser: two")
    text_stream = TextStream(tulu.ours, ("\n\nUser:",))
    pieces = [text_stream.push(token_id) for token_id in ids]
    assert "".join(pieces) == "one"
    assert text_stream.stopped == "\n\nUser:"
    assert text_stream.push(ids[0]) == ""
    assert text_stream.finish() == ""


def test_beginning_of_a_stop_string_is_shown_when_it_does_not_come(tulu: Pair) -> None:
    text_stream = TextStream(tulu.ours, ("\n\nUser:",))
    pieces = [text_stream.push(token_id) for token_id in tulu.ours.encode_text("a\n\nUse b\n\n")]
    assert "".join(pieces) == "a\n\nUse b"
    assert text_stream.finish() == "\n\n"


def test_stop_string_completed_only_at_the_end(tulu: Pair) -> None:
    text_stream = TextStream(tulu.ours, ("\ufffd",))
    half = tulu.ours.encode_text("a🧑")[:-1]
    assert "".join(text_stream.push(token_id) for token_id in half) == "a"
    assert text_stream.finish() == ""
    assert text_stream.stopped == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_each_token_costs_the_same(
    pairs: dict[str, Pair], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = pairs[kind].ours
    sizes = []
    decode = ours.decode

    def counting(ids: Sequence[int], **options: Any) -> str:
        sizes.append(len(ids))
        return decode(ids, **options)

    monkeypatch.setattr(ours, "decode", counting)
    stream(ours, ours.encode_text("One more line of text.\n" * 100), ("stop",))
    assert max(sizes) < 20
