"""When a conversation is longer than the context: by how much, and what could be left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tulu_cli.core import Conversation, Message, TokenIds
from tulu_cli.errors import PromptTooLong

Overflow = Literal["ask", "error", "drop-oldest"]

# An answer of fewer tokens than this, or than an eighth of the context, is hardly one.
_ANSWER_TOKENS = 256
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Fit:
    """What goes to the model: the messages `kept`, as token ids, without what was `dropped`."""

    kept: Conversation
    token_ids: TokenIds
    dropped: Conversation = ()


def answer_budget(max_tokens: int | None, max_model_len: int) -> int:
    """Return how many tokens must be free for an answer."""
    return max(1, min(max_tokens or _ANSWER_TOKENS, _ANSWER_TOKENS, max_model_len // 8))


def drop_oldest(
    messages: Conversation, encode: Callable[[Conversation], TokenIds], limit: int
) -> Fit | None:
    """Drop as few of the oldest exchanges as bring the conversation to `limit` tokens.

    The system message and the last exchange always stay; return None if these alone are too long.
    An exchange is a user's turn with what follows it, so that roles still alternate.
    """
    starts = [place for place, message in enumerate(messages) if message.role == "user"]
    if len(starts) < 2:
        return None
    head = messages[: starts[0]]

    def without(exchanges: int) -> Fit:
        kept = (*head, *messages[starts[exchanges] :])
        return Fit(kept, encode(kept), messages[starts[0] : starts[exchanges]])

    few, most = 1, len(starts) - 1
    fit = without(most)
    if len(fit.token_ids) > limit:
        return None
    while few < most:  # more dropped is never more tokens
        middle = (few + most) // 2
        if len((shorter := without(middle)).token_ids) <= limit:
            most, fit = middle, shorter
        else:
            few = middle + 1
    return fit


def complaint(tokens: int, room: int, max_model_len: int) -> str:
    """By how much a conversation is too long, in one sentence."""
    over = tokens + room - max_model_len
    return (
        f"The conversation has {tokens:,} tokens and the context length is {max_model_len:,}, of "
        f"which {room:,} are kept for the answer: it is over by {over:,}."
    )


def too_long(tokens: int, room: int, max_model_len: int) -> PromptTooLong:
    """Return the refusal of a conversation that cannot or must not be shortened."""
    return PromptTooLong(
        f"{complaint(tokens, room, max_model_len)} Shorten it, or start anew with /new."
    )


def describe(dropped: Sequence[Message]) -> str:
    """Return the first words of what is left out: `the 2 oldest turns ("Hello ...", "Hi! ...")`."""
    first = ", ".join(f'"{_beginning(message.content)}"' for message in dropped[:4])
    more = ", ..." if len(dropped) > 4 else ""
    return f"the {len(dropped)} oldest turns ({first}{more})"


def _beginning(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN_CHARACTERS else f"{words[:_SHOWN_CHARACTERS]} ..."
