"""What is left out of a conversation that is too long, and what never is."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.chat.window import answer_budget, complaint, describe, drop_oldest
from tulu_cli.core import Conversation, Message, TokenIds

TEXTS = st.lists(st.integers(1, 30).map("x".__mul__), min_size=1, max_size=12)


def conversation(texts: list[str], system: str | None) -> Conversation:
    turns = [Message(("user", "assistant")[place % 2], text) for place, text in enumerate(texts)]
    return (*(() if system is None else (Message("system", system),)), *turns)


def encode(messages: Conversation) -> TokenIds:
    """A tokenizer: a character is a token, and a message costs three."""
    return (0,) * sum(len(message.content) + 3 for message in messages)


def count(messages: Conversation) -> int:
    return len(encode(messages))


@given(TEXTS, st.none() | st.just("Be brief."), st.integers(0, 400))
def test_only_as_few_of_the_oldest_exchanges_go_as_must(
    texts: list[str], system: str | None, limit: int
) -> None:
    messages = conversation(texts, system)
    fit = drop_oldest(messages, encode, limit)
    users = [message for message in messages if message.role == "user"]
    if fit is None:
        start = messages.index(users[-1]) if len(users) > 1 else None
        head = messages[:1] if system else ()
        assert start is None or count((*head, *messages[start:])) > limit or len(users) < 2
        return
    assert fit.token_ids == encode(fit.kept)
    assert len(fit.token_ids) <= limit
    assert fit.kept[-1] is messages[-1]
    assert [m.role for m in fit.kept].count("system") == (system is not None)
    turns = [message for message in fit.kept if message.role != "system"]
    assert turns[0].role == "user"
    assert all(one.role != other.role for one, other in pairwise(turns))
    assert (*fit.kept[: len(fit.kept) - len(turns)], *fit.dropped, *turns) == messages
    if len(fit.dropped) > 2:  # with one exchange more it would not have fitted
        last = [place for place, m in enumerate(fit.dropped) if m.role == "user"][-1]
        more = (*fit.kept[: len(fit.kept) - len(turns)], *fit.dropped[last:], *turns)
        assert count(more) > limit


def test_the_room_for_an_answer() -> None:
    assert answer_budget(None, 8192) == 256
    assert answer_budget(10, 8192) == 10
    assert answer_budget(None, 160) == 20
    assert answer_budget(None, 4) == 1


def test_the_sentence_has_the_numbers() -> None:
    assert complaint(8100, 256, 8192) == (
        "The conversation has 8,100 tokens and the context length is 8,192, of which 256 are kept "
        "for the answer: it is over by 164."
    )


def test_what_is_dropped_is_named_by_its_first_words() -> None:
    messages = conversation(["one\n two", "x" * 60, "three", "four", "five", "six"], None)
    beginning = f'"one two", "{"x" * 40} ...", "three", "four"'
    assert describe(messages) == f"the 6 oldest turns ({beginning}, ...)"
