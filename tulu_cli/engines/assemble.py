"""From sampled token ids to events: the same ending rules for every engine.

An engine only samples. Whether a token ends the answer, which text may be shown already and what
the usage was is decided here, once, so that two engines cannot differ in it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from tulu_cli.core import (
    Channel,
    Completion,
    Done,
    Drafted,
    FinishReason,
    Request,
    Text,
    ThoughtFormat,
    Timings,
    TokenLogprob,
    Usage,
)
from tulu_cli.errors import TuluError
from tulu_cli.prompt import TextStream, Tokenizer
from tulu_cli.prompt.thinking import ThoughtStream
from tulu_cli.protocol.completions import (
    cached_tokens,
    drafted_tokens,
    read_finish,
    reading_chunk,
    sampled_tokens,
)


class RunningChoice:
    """The state of one choice while it is generated, up to its `Done`.

    `finish` is None while it runs. Times are seconds on time.perf_counter's clock.
    """

    def __init__(self, request: Request, index: int, started: float, cached: int = 0) -> None:
        self.index = index
        self.finish: FinishReason | None = None
        self.stop: str | int | None = None
        self.cached_tokens = cached
        self.drafted: Drafted | None = None
        self.queue_seconds = 0.0
        self.reasoning_truncated = False
        self._request = request
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._started = started
        self._first: float | None = None

    def close(self, reason: FinishReason) -> Iterator[Text]:
        """End a choice from outside; yield the text that was held back."""
        if self.finish is None:
            self._end(reason, None)
            yield from self._rest()

    def done(self) -> Done:
        """Return the closing event; call it once `finish` is set."""
        now = time.perf_counter()
        usage = Usage(
            len(self._request.prompt_token_ids),
            self._completion_tokens,
            self.cached_tokens,
            self._reasoning_tokens,
            self.drafted,
        )
        first = (self._first or now) - self._started
        return Done(
            finish_reason=self.finish or "error",
            usage=usage,
            timings=Timings(self.queue_seconds, first, now - self._started),
            seed=self._request.sampling.seed + self.index,
            stop=self.stop,
            index=self.index,
            reasoning_truncated=self.reasoning_truncated,
        )

    def _count(self, tokens: int) -> None:
        self._first = self._first or time.perf_counter()
        self._completion_tokens += tokens

    def _end(self, reason: FinishReason, stop: str | int | None) -> None:
        self.finish, self.stop = reason, stop

    def _rest(self) -> Iterator[Text]:
        yield from ()


class ToldChoice(RunningChoice):
    """A choice whose text and end are found by another process of ours."""

    def take(self, piece: Text) -> Iterator[Text]:
        """Count a piece and pass it on."""
        if piece.token_ids:
            self._count(len(piece.token_ids))
            self._reasoning_tokens += len(piece.token_ids) if piece.channel == "thought" else 0
        if piece.text or piece.token_ids:
            yield replace(piece, index=self.index)

    def end(self, reason: FinishReason, stop: str | int | None) -> None:
        """End the choice for a reason that the other process found."""
        self._end(reason, stop)


class ChoiceAssembler(RunningChoice):
    """Turns the tokens of one choice into `Text` pieces and its `Done`."""

    def __init__(
        self, request: Request, tokenizer: Tokenizer, index: int, started: float, cached: int = 0
    ) -> None:
        super().__init__(request, index, started, cached)
        sampling = request.sampling
        self._text = TextStream(tokenizer, sampling.stop)
        bound = sampling.constraint is not None
        self._thoughts = ThoughtStream(request.thoughts, bound=bound) if request.thoughts else None
        self._signs = signs_of(request.thoughts, tokenizer)
        self._end_tokens = frozenset(() if sampling.ignore_eos else request.stop_token_ids)
        self._limit = sampling.max_tokens
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []

    def push(self, token_id: int, logprob: TokenLogprob | None = None) -> Iterator[Text]:
        """Take one sampled token; yield what may be shown now, and set `finish` at an end."""
        self._count(1)
        self._ids.append(token_id)
        if logprob is not None:
            self._logprobs.append(logprob)
        if token_id in self._end_tokens:
            self._end("stop", token_id)
            yield from self._rest()
            return
        text = self._text.push(token_id)
        if token_id in self._signs and self._thoughts and not self._thoughts.is_over:
            text += self._text.finish() + self._signs[token_id]
        if self._text.stopped is not None:
            self._end("stop", self._text.stopped)
        elif self._completion_tokens == self._limit:
            self._end("length", None)
            text += self._text.finish()
        if text or self.finish is not None:
            yield from self._pieces(text)

    def _rest(self) -> Iterator[Text]:
        yield from self._pieces(self._text.finish())

    def _pieces(self, text: str) -> Iterator[Text]:
        """Yield the text in its channels; a token that ends the thought is one of the thought's."""
        if self._thoughts is None:
            yield from self._piece(text, "answer")
            return
        had_ended = self._thoughts.has_ended
        thought, answer = self._thoughts.push(text)
        if self.finish is not None:
            more, rest = self._thoughts.finish()
            thought, answer = thought + more, answer + rest
        if thought or self._thoughts.has_ended != had_ended:
            yield from self._piece(thought, "thought")
        if answer or self.finish is not None:
            yield from self._piece(answer, self._thoughts.channel)

    def _piece(self, text: str, channel: Channel) -> Iterator[Text]:
        if text or self._ids:
            self._reasoning_tokens += len(self._ids) if channel == "thought" else 0
            yield Text(text, tuple(self._ids), self.index, tuple(self._logprobs), channel)
            self._ids, self._logprobs = [], []


def signs_of(thoughts: ThoughtFormat | None, tokenizer: Tokenizer) -> dict[int, str]:
    """Return the control tokens in the signs of a thought, with the text of each.

    Elsewhere such a token has no text. Most models write the signs in ordinary tokens.
    """
    if thoughts is None:
        return {}
    signs = (thoughts.start, thoughts.end)
    special = tokenizer.special_tokens.items()
    return {token: text for text, token in special if text and any(text in one for one in signs)}


def collect(events: Iterable[Text | Done]) -> list[Completion]:
    """Return the finished choices of a stream, in the order of their index."""
    pieces: dict[int, list[Text]] = {}
    finished: dict[int, Done] = {}
    for event in events:
        if isinstance(event, Done):
            finished[event.index] = event
        else:
            pieces.setdefault(event.index, []).append(event)
    return [Completion.of(pieces.get(index, []), finished[index]) for index in sorted(finished)]


def streamed(answers: Iterable[tuple[int, list[Completion] | TuluError]]) -> Iterator[Text | Done]:
    """Yield each choice of whole answers as one piece and its end. Raise the first error."""
    for _, answer in answers:
        if isinstance(answer, TuluError):
            raise answer
        for choice in answer:
            if choice.reasoning is not None:
                yield Text(choice.reasoning, index=choice.done.index, channel="thought")
            yield Text(choice.text, choice.token_ids, choice.done.index, choice.logprobs)
            yield choice.done


_Choice = TypeVar("_Choice", bound=RunningChoice)


def read_answer(
    chunks: Iterable[Mapping[str, Any]],
    choices: list[_Choice],
    request: Request,
    take: Callable[[_Choice, Mapping[str, Any], int], Iterator[Text]],
) -> Iterator[Text | Done]:
    """Yield the events of a server's chunks; each `Done`, with the cached tokens, comes last.

    Raise Unreadable for a chunk that is not as vLLM's.
    """
    top = request.sampling.logprobs or 0
    for chunk in chunks:
        with reading_chunk():
            if usage := chunk.get("usage"):
                for choice in choices:
                    choice.cached_tokens = cached_tokens(usage)
                    choice.drafted = drafted_tokens(chunk)
            # Greedy choices are all the same: the server was asked for one.
            pieces = [
                (choice, told)
                for told in chunk["choices"]
                for choice in (choices if request.sampling.greedy else [choices[told["index"]]])
            ]
        for choice, told in pieces:
            if choice.finish is None:  # what comes after its end is ignored
                yield from take(choice, told, top)
    for choice in choices:
        yield from choice.close("error")
        yield choice.done()


def take_tokens(choice: ChoiceAssembler, told: Mapping[str, Any], top: int) -> Iterator[Text]:
    """Yield the text of a piece, made here from its tokens. Raise Unreadable."""
    with reading_chunk():
        sampled, reason = sampled_tokens(told, top), read_finish(told.get("finish_reason"))
    for token, logprob in sampled:
        yield from choice.push(token, logprob)
        if choice.finish is not None:
            return
    if reason is not None:
        yield from choice.close(end_of(reason))


def end_of(reason: str) -> FinishReason:
    """Return how an answer ended, for what `read_finish` returns: what is filtered is a stop."""
    return "length" if reason == "length" else "error" if reason == "error" else "stop"


def take_text(choice: ToldChoice, told: Mapping[str, Any], top: int) -> Iterator[Text]:
    """Yield the text of a piece as another process of ours made it. Raise Unreadable."""
    with reading_chunk():
        sampled, text = sampled_tokens(told, top), told["text"]
    ids = tuple(token for token, _ in sampled)
    logprobs = tuple(logprob for _, logprob in sampled if logprob is not None)
    channel = told.get("channel", "answer")
    yield from choice.take(Text(text, ids, choice.index, logprobs, channel))
    if (reason := told.get("finish_reason")) is not None:
        choice.reasoning_truncated = bool(told.get("reasoning_truncated"))
        choice.end(reason, told.get("stop_reason"))


def until_stopped(
    chunks: Iterable[Mapping[str, Any]], choices: list[ChoiceAssembler]
) -> Iterator[Mapping[str, Any]]:
    """Yield the chunks until a stop string of ours has ended every choice; the server goes on."""
    for chunk in chunks:
        yield chunk
        if all(isinstance(choice.stop, str) for choice in choices):
            return
