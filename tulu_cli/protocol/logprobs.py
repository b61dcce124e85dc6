"""Log-probabilities as OpenAI tells them, of chats and of completions.

A token is told as its text, or, where a client wants that, as `token_id:` and its id.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from tulu_cli.core import TokenLogprob
from tulu_cli.protocol.completions import wire_logprob

# The bytes that a token stands for; a server that makes its own prompt tells its text, and no id.
Spelling = Callable[[int | str], bytes]


def chat_logprobs(entries: Sequence[TokenLogprob], spell: Spelling) -> dict[str, Any]:
    """Return the logprobs of an answer in a chat."""

    def told(token: int | str, logprob: float) -> dict[str, Any]:
        data = spell(token)
        return {"token": text_of(data), "logprob": wire_logprob(logprob), "bytes": list(data)}

    return {
        "content": [
            {
                **told(entry.token_id, entry.logprob),
                "top_logprobs": [told(token, logprob) for token, logprob in entry.top],
            }
            for entry in entries
        ]
    }


def text_logprobs(
    entries: Sequence[TokenLogprob],
    spell: Spelling,
    *,
    first: int | None = None,
    offset: int = 0,
) -> dict[str, Any]:
    """Return the logprobs of a completion, whose text begins at `offset`.

    The token `first`, if there is one, stands before them all, where nothing was there to make it
    likely. As OpenAI has it, the alternatives hold the token itself too, and the likelier of two
    that look the same.
    """
    begin = [] if first is None else [first]
    tokens = [text_of(spell(token)) for token in (*begin, *(one.token_id for one in entries))]
    return {
        "tokens": tokens,
        "token_logprobs": [
            *(None for _ in begin),
            *(wire_logprob(entry.logprob) for entry in entries),
        ],
        "top_logprobs": [
            *(None for _ in begin),
            *(_alternatives(entry, spell) for entry in entries),
        ],
        "text_offset": list(accumulate(map(len, tokens), initial=offset))[: len(tokens)],
    }


def _alternatives(entry: TokenLogprob, spell: Spelling) -> dict[str, float]:
    told: dict[str, float] = {}
    for token, logprob in (*entry.top, (entry.token_id, entry.logprob)):
        told.setdefault(text_of(spell(token)), wire_logprob(logprob))
    return told


def text_of(data: bytes) -> str:
    """Return the text of a token, which may hold a part of a character."""
    return data.decode("utf-8", "replace")
