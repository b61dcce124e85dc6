"""A prompt token by token: id, text, bytes, whose turn it is in, and whether it is learnt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

from tulu_cli.prompt.encode import encode_pieces, encoding_of_pieces
from tulu_cli.prompt.inspect.formats import Row, tools_of
from tulu_cli.prompt.inspect.spans import Anatomy, Range, Source, Turn
from tulu_cli.prompt.inspect.thoughts import signs_in, thoughts_in
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.spoofing import pieces_of
from tulu_cli.prompt.tokenizer import Tokenizer, encoding
from tulu_cli.prompt.tracing import plain


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a prompt. `piece` is the text that it covers, `turn` None outside any."""

    id: int
    piece: str
    data: bytes
    turn: Turn | None
    special: bool
    learnt: bool
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Thought:
    """The thought of message `index`: its first token and the one after its last, signs included.

    Both are None where the template drops it. `learnt` is None where the loss mask is unknown.
    """

    index: int
    start: int | None
    end: int | None
    learnt: bool | None


@dataclass(frozen=True, slots=True)
class Explained:
    """A prompt with its tokens; `source` says how the learnt ones were found.

    If they were not, `reason` is a sentence that says why.
    """

    text: str
    tokens: tuple[Token, ...]
    source: Source
    reason: str = ""
    thoughts: tuple[Thought, ...] = ()

    def turns(self) -> list[tuple[str, int, int]]:
        """Return the role, the first token and the one after the last, of each turn."""
        runs = groupby(range(len(self.tokens)), key=lambda at: self.tokens[at].turn)
        found = [(turn, list(run)) for turn, run in runs]
        return [(turn.role, run[0], run[-1] + 1) for turn, run in found if turn]

    def mask(self) -> list[int] | None:
        """Return the loss mask, or None if it is unknown: it is never silently all zero."""
        return None if self.source == "none" else [int(token.learnt) for token in self.tokens]


def encode_row(tokenizer: Tokenizer, writer: PromptWriter, row: Row) -> Sequence[int]:
    """Return the token ids of a row's prompt. Raise BadInput, UsageError."""
    asked, tools = writer.asks(row.messages), tools_of(row)
    pieces = writer.pieces(row.messages, asked=asked, tools=tools)
    if writer.allow_special:
        return tokenizer.encode_text("".join(pieces))
    return encode_pieces(tokenizer, pieces)


def explain_row(tokenizer: Tokenizer, writer: PromptWriter, row: Row) -> Explained:
    """Return a row's prompt with all that is known of each token. Raise BadInput, UsageError."""
    anatomy = writer.anatomy(row.messages, tools_of(row))
    ids, offsets = encoding_of_text(tokenizer, anatomy.text, allow_special=writer.allow_special)
    tokens = explain_tokens(tokenizer, ids, offsets, anatomy)
    signs = signs_in(writer.source_for(tools_of(row)), tokenizer.response_template)
    thoughts = []
    for one in thoughts_in(anatomy, row.messages, signs):
        if one.whole is None or one.inner is None:
            thoughts.append(Thought(one.index, None, None, _known(anatomy, is_learnt=False)))
            continue
        places = covering(offsets, one.whole)
        inner = covering(offsets, one.inner) or places
        for at in places:
            tokens[at] = replace(tokens[at], thought=True)
        is_learnt = all(tokens[at].learnt for at in inner)
        known = _known(anatomy, is_learnt=is_learnt)
        thoughts.append(Thought(one.index, places[0], places[-1] + 1, known))
    text = plain(anatomy.text)
    return Explained(text, tuple(tokens), anatomy.source, anatomy.reason, tuple(thoughts))


def covering(offsets: Sequence[Range], characters: Range) -> list[int]:
    """Return the tokens that cover any of these characters."""
    start, end = characters
    return [at for at, (first, last) in enumerate(offsets) if first < end and last > start]


def _known(anatomy: Anatomy, *, is_learnt: bool) -> bool | None:
    return None if anatomy.source == "none" else is_learnt


def encoding_of_text(
    tokenizer: Tokenizer, text: str, *, allow_special: bool
) -> tuple[Sequence[int], Sequence[Range]]:
    """Return the ids of a prompt with traces, and the characters that each id covers."""
    if allow_special:
        found = encoding(tokenizer.backend, plain(text), add_special_tokens=False)
        return found.ids, found.offsets
    return encoding_of_pieces(tokenizer, pieces_of(text, tokenizer.control_texts))


def explain_tokens(
    tokenizer: Tokenizer, ids: Sequence[int], offsets: Sequence[Range], anatomy: Anatomy
) -> list[Token]:
    """Return the tokens of a prompt, with what is known of each."""
    mask = loss_mask(offsets, anatomy.learnt)
    return [
        Token(
            id=number,
            piece=anatomy.text[start:end],
            data=token_bytes(tokenizer, number),
            turn=turn_at(start, anatomy.turns),
            special=number in tokenizer.special_ids,
            learnt=bool(learnt),
        )
        for number, (start, end), learnt in zip(ids, offsets, mask, strict=True)
    ]


def loss_mask(offsets: Sequence[Range], learnt: Iterable[Range]) -> list[int]:
    """Return 1 for each token that covers a learnt character, else 0.

    A token that straddles the beginning of an answer is learnt, as transformers counts it.
    """
    mask = [0] * len(offsets)
    token = 0
    for start, end in learnt:
        while token < len(offsets) and offsets[token][1] <= start:
            token += 1
        while token < len(offsets) and offsets[token][0] < end:
            mask[token] = int(offsets[token][1] > offsets[token][0]) or mask[token]
            token += 1
    return mask


def turn_at(place: int, turns: Sequence[Turn]) -> Turn | None:
    """Return the turn that the character at `place` is in."""
    return next((turn for turn in turns if turn.start <= place < turn.end), None)


def token_bytes(tokenizer: Tokenizer, number: int) -> bytes:
    """Return the bytes that a token stands for, however its vocabulary spells them."""
    text = tokenizer.token_text(number) or ""
    if number in tokenizer.special_ids:
        return text.encode()
    if tokenizer.joins_bytes and text.startswith("<0x") and len(text) == len("<0x00>"):
        return bytes.fromhex(text[3:5])
    letters = byte_letters()
    if tokenizer.is_byte_level and all(char in letters for char in text):
        return bytes(letters[char] for char in text)
    return text.replace("\u2581", " ").encode()


@cache
def byte_letters() -> dict[str, int]:
    """Return the byte of each letter in byte-level vocabularies, which GPT-2 introduced."""
    plain = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }
