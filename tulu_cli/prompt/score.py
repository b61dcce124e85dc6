"""A completion that is given, encoded in its place: pieces encoded apart are not the whole.

A token counts as the completion's where it covers a character of it, as in a loss mask. So a token
that straddles the beginning is scored.
"""

from collections.abc import Sequence

from tulu_cli.core import Message, ScoreRequest
from tulu_cli.errors import BadInput
from tulu_cli.prompt.encode import encoding_of_pieces
from tulu_cli.prompt.inspect.spans import Anatomy, Range
from tulu_cli.prompt.inspect.tokens import encoding_of_text
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.tokenizer import Tokenizer, encoding


def encode_answer(
    tokenizer: Tokenizer,
    writer: PromptWriter,
    messages: Sequence[Message],
    end_token_ids: Sequence[int],
) -> ScoreRequest:
    """Return a request that scores the last message, the assistant's, with its end token.

    What the template writes behind that token is not part of the answer, and left out. Raises
    BadInput, also where the template does not show where the answer is.
    """
    anatomy = writer.anatomy(messages)
    ids, offsets = encoding_of_text(tokenizer, anatomy.text, allow_special=writer.allow_special)
    start, end = answer_in(anatomy, len(messages) - 1)
    total = sum(1 for begin, _ in offsets if begin < end)
    context = first_of(offsets, start)
    ends = [place for place in range(context, total) if ids[place] in end_token_ids]
    return request(ids[: ends[-1] + 1 if ends else total], context)


def encode_reply(
    tokenizer: Tokenizer, writer: PromptWriter, messages: Sequence[Message]
) -> ScoreRequest:
    """Return a request that scores the text of the last message, without an end token.

    The text stands behind the prompt that asks for an answer, character for character, whatever
    the template would make of it. Raises BadInput for a message that is more than text.
    """
    *asked, last = messages
    answer = last.as_text()
    if answer.extra:
        raise BadInput("An answer that is more than text can only be scored with its end token.")
    if writer.strict_roles:
        writer.render(messages, asked=False)  # refuses what stands in the answer too
    pieces = writer.pieces(asked, asked=True)
    own = [answer.content]
    if writer.allow_special:
        own = tokenizer.control_texts.split(answer.content)
    whole = [*pieces[:-1], pieces[-1] + own[0], *own[1:]]
    ids, offsets = encoding_of_pieces(tokenizer, whole)
    return request(ids, first_of(offsets, sum(map(len, pieces))))


def encode_completion(tokenizer: Tokenizer, text: str, completion: str) -> ScoreRequest:
    """Return a request that scores the continuation of a plain text, without an end token."""
    ids = tokenizer.encode_raw(text + completion)
    found = encoding(tokenizer.backend, text + completion, add_special_tokens=True)
    # A BOS that was written out and added too stands in `found` twice.
    offsets = found.offsets[len(found.ids) - len(ids) :]
    added = found.special_tokens_mask[len(found.ids) - len(ids) :]
    total = len(ids)
    while total and added[total - 1]:  # an EOS that the tokenizer adds by itself
        total -= 1
    return request(ids[:total], first_of(offsets[:total], len(text)))


def answer_in(anatomy: Anatomy, index: int) -> Range:
    """Return the characters that the model writes as message `index`, the last. Raise BadInput."""
    turn = next((turn for turn in anatomy.turns if turn.index == index), None)
    last = anatomy.learnt[-1] if anatomy.learnt else None
    if last is None or (turn is not None and last[0] < turn.start):
        raise BadInput("The chat template does not show where the answer to be scored stands.")
    return last


def first_of(offsets: Sequence[Range], start: int) -> int:
    """Return the first token that reaches beyond character `start`."""
    return next((place for place, (_, end) in enumerate(offsets) if end > start), len(offsets))


def request(ids: Sequence[int], context: int) -> ScoreRequest:
    """Return the request. Raise BadInput if the context or the completion has no token."""
    if context < 1:
        raise BadInput("Nothing stands before the completion, not even a BOS: give a text.")
    if context >= len(ids):
        raise BadInput("The completion has no token to be scored.")
    return ScoreRequest(tuple(ids), context)
