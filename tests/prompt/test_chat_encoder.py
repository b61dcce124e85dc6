"""A conversation that grows is encoded as a whole would be, and what is old only once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.prompt import ChatEncoder, encode_chat
from tulu_cli.prompt.encode import encode_pieces

from .pairs import Pair
from .strategies import conversations, nasty

KINDS = ("tulu", "demo", "chatml", "phi", "llama2", "unigram")


@pytest.mark.parametrize("kind", KINDS)
@given(messages=conversations(nasty), asked=st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=60)
def test_each_prompt_is_that_of_the_whole_conversation(
    pairs: dict[str, Pair], kind: str, messages: list[Message], asked: list[bool]
) -> None:
    tokenizer = pairs[kind].ours
    encoder = ChatEncoder(tokenizer)
    changed = [*messages[:-1], Message(messages[-1].role, messages[-1].content + " x")]
    turns = [messages[: place + 1] for place in range(len(messages))]
    for turn, generation in zip(
        (*turns, changed, messages[:1]), (*asked, True, False), strict=False
    ):
        whole = encode_chat(tokenizer, turn, add_generation_prompt=generation)
        assert encoder(turn, add_generation_prompt=generation) == whole


def test_what_was_encoded_is_not_encoded_again(tulu: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(tokenizer: object, pieces: list[str]) -> tuple[int, ...]:
        seen.append(sum(map(len, pieces)))
        return encode_pieces(tulu.ours, pieces)

    monkeypatch.setattr("tulu_cli.prompt.chat.encode_pieces", counted)
    encoder = ChatEncoder(tulu.ours)
    story = [Message("user", "word " * 1000), Message("assistant", "Once. " * 1000)]
    encoder(story[:1])
    encoder([*story, Message("user", "And then?")])
    encoder([*story, Message("user", "And then?"), Message("assistant", "The end.")])
    assert seen[0] > 5000
    assert seen[1] > 6000, "the answer is new"
    assert seen[2] < 200
