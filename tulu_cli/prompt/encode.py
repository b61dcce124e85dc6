"""Encoding a text in which only chosen places are control tokens.

A second tokenizer, whose control tokens have other names with the same ids, reads the whole
text: so merges, spaces and strip flags across a control token work as they do in the first one,
and a control token's text that a user typed is plain text.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import BadInput
from tulu_cli.prompt.spoofing import texts_in
from tulu_cli.prompt.tokenizer import Tokenizer, encoding

if TYPE_CHECKING:
    import tokenizers


PRIVATE = range(0xF0000, 0x10FFFE)  # planes 15 and 16
PRIVATE_PATTERN = re.compile(f"[{chr(PRIVATE[0])}-{chr(PRIVATE[-1])}]")


def private_characters(*inputs: Any) -> Iterator[str]:
    """Yield private-use characters that no text in `inputs` has. Raise BadInput if none is left."""
    odd = (text for text in texts_in(inputs) if not text.isascii())
    used = {char for text in odd for char in PRIVATE_PATTERN.findall(text)}
    yield from (chr(code) for code in PRIVATE if chr(code) not in used)
    raise BadInput("The conversation uses up the private-use characters of Unicode.")


def encode_pieces(tokenizer: Tokenizer, pieces: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of plain texts (even positions) with control tokens between (odd ones)."""
    return tuple(encoding_of_pieces(tokenizer, pieces)[0])


def encoding_of_pieces(
    tokenizer: Tokenizer, pieces: Sequence[str]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids of pieces, and the characters of the whole text that each token covers."""
    text = "".join(pieces)
    if tokenizer.reads_literally and tokenizer.control_texts.split(text) == pieces:
        # The first tokenizer finds these very control tokens: no need for the other one.
        found = encoding(tokenizer.backend, text, add_special_tokens=False)
        return found.ids, found.offsets
    return encoding_renamed(tokenizer, pieces)


def encode_renamed(tokenizer: Tokenizer, pieces: Sequence[str]) -> tuple[int, ...]:
    """Return the ids by the second tokenizer: only the odd pieces become control tokens."""
    return tuple(encoding_renamed(tokenizer, pieces)[0])


def encoding_renamed(
    tokenizer: Tokenizer, pieces: Sequence[str]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the second tokenizer's ids, with the characters of each in the original text."""
    mark = next(private_characters(pieces))
    names = control_names(tokenizer, mark)
    renamed = [names[piece] if odd % 2 else piece for odd, piece in enumerate(pieces)]
    found = encoding(renamed_backend(tokenizer, mark), "".join(renamed), add_special_tokens=False)
    place = placer(renamed, pieces)
    return found.ids, [(place(start), place(end)) for start, end in found.offsets]


def placer(renamed: Sequence[str], pieces: Sequence[str]) -> Callable[[int], int]:
    """Return a function from a place in the renamed text to its place in the original one."""
    befores = [0, *accumulate(map(len, renamed))]
    afters = [0, *accumulate(map(len, pieces))]

    def place(at: int) -> int:
        piece = bisect_right(befores, at) - 1
        return min(afters[piece] + at - befores[piece], afters[-1])

    return place


def control_names(tokenizer: Tokenizer, mark: str) -> dict[str, str]:
    """Return a new name for each control token, between two `mark`s, which occur in no text."""
    return {text: f"{mark}{number}{mark}" for text, number in tokenizer.special_tokens.items()}


@lru_cache(maxsize=2)
def renamed_backend(tokenizer: Tokenizer, mark: str) -> "tokenizers.Tokenizer":
    """Return the tokenizer with its control tokens renamed, ids kept."""
    import tokenizers

    names = control_names(tokenizer, mark)
    definition = json.loads(tokenizer.backend.to_str())
    rename_added_tokens(definition["added_tokens"], names)
    rename_model(definition["model"], names)
    # Control tokens are written by the template; none is added around the text.
    definition["post_processor"] = None
    backend = tokenizers.Tokenizer.from_str(json.dumps(definition))
    assert all(
        backend.token_to_id(names[text]) == number
        for text, number in tokenizer.special_tokens.items()
    ), "a renamed control token keeps its id"
    return backend


def rename_added_tokens(added: list[dict[str, Any]], names: Mapping[str, str]) -> None:
    """Rename in the list of added tokens."""
    for token in added:
        if token["special"]:
            token["content"] = names[token["content"]]


def rename_model(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename in the vocabulary too: a model finds a token by its text there, special or not."""
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(text, text): number for text, number in vocab.items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in vocab]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        # A merge that makes a control token of plain text has nothing to make any more.
        model["merges"] = [
            merge for merge in model["merges"] if not {*merge, "".join(merge)} & names.keys()
        ]
