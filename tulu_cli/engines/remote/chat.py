"""A server that takes OpenAI's chat completions: any but vLLM's and ours, which take token ids.

Messages go out and text comes back. The server makes the prompt, counts the tokens and ends the
answer; stop strings are looked for here too, as not every server knows them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tulu_cli.core import (
    Completion,
    Done,
    EngineInfo,
    FinishReason,
    Request,
    Score,
    ScoreRequest,
    Text,
    Timings,
    Usage,
)
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import ServedModel
from tulu_cli.engines.remote.pool import Room, answer_all
from tulu_cli.engines.remote.wire import Wire
from tulu_cli.errors import EngineDied, EngineError, ModelNotFound, TuluError, UsageError
from tulu_cli.machine import Machine
from tulu_cli.prompt.detokenize import StopStrings
from tulu_cli.protocol.chat import (
    Piece,
    cannot,
    check,
    model_names,
    quirk_in,
    read_chunk,
    request_body,
)
from tulu_cli.protocol.errors import Refused
from tulu_cli.text import listed

_WITHHELD = ("content_filter", "error")


class ChoiceText:
    """The text of one choice, up to the first stop string that is completed in it.

    Some servers report an end before the answer, or with each piece of it, so only the end of the
    stream is believed: text that comes after a finish reason is part of the answer. A thought is
    passed on as the server tells it; no stop string is looked for in it.
    """

    def __init__(self, request: Request, index: int) -> None:
        self.index = index
        self.finish: FinishReason | None = None
        self.stop: str | None = None
        self.has_ended = False  # as far as the server has reported, and no text came after that
        self.is_cut = False  # at a stop string that the server has not seen
        self.first: float | None = None
        self.has_logprobs = False
        self.has_text = False
        self.beside = ""  # what the server sent that is not a part of the answer
        self._stops = StopStrings(request.sampling.stop)
        self._held = ""

    def take(self, piece: Piece) -> Iterator[Text]:
        """Yield the text that may be shown now; ignore what comes after a stop string."""
        if self.is_cut:
            return
        if piece.text or piece.thought:
            self.first = self.first or time.perf_counter()
            self.has_ended = False
        if piece.thought:
            yield Text(piece.thought, index=self.index, channel="thought")
        self.has_logprobs |= bool(piece.logprobs)
        self.has_text |= bool(piece.text.strip() or piece.thought)
        self.beside = self.beside or piece.beside
        stop, shown = self._stops.cut(text := self._held + piece.text)
        self._held = "" if stop else text[shown:]
        if stop:
            self.finish, self.stop, self.is_cut, self.has_ended = "stop", stop, True, True
        elif piece.finish is not None:
            self.finish = "length" if piece.finish == "length" else "stop"
            self.stop, self.has_ended = piece.stop, True
        if shown or piece.logprobs:
            yield Text(text[:shown], index=self.index, logprobs=piece.logprobs)

    def close(self) -> Iterator[Text]:
        """End the choice; yield the text that might have become a stop string."""
        held, self._held = self._held, ""
        if held:
            yield Text(held, index=self.index)


class ChatAnswer:
    """The choices of one request. `started` is on time.perf_counter's clock."""

    def __init__(self, request: Request, url: str | None, started: float) -> None:
        self.has_begun = False
        self._request = request
        self._url = url
        self._started = started
        self._choices = [ChoiceText(request, index) for index in range(request.sampling.n)]
        self._usage: Usage | None = None
        self._answered: set[int] = set()
        self.seed: int | None = request.sampling.seed  # None for a server that takes none

    def read(self, chunks: Iterator[Mapping[str, Any]]) -> Iterator[Text | Done]:
        """Yield the events, each `Done` last. Raise UsageError for what the server left out."""
        try:
            for chunk in chunks:
                yield from self._take(chunk)
                if all(choice.is_cut for choice in self._choices):
                    break  # the server would go on
        except EngineDied:
            if not all(choice.has_ended for choice in self._choices):
                yield from self._held()
                raise  # else only the word that it has ended is missing
        answered = [choice for choice in self._choices if choice.index in self._answered]
        for choice in answered:
            yield from choice.close()
            yield self._done(choice)
        self._check_number(len(answered))
        self._check_texts(answered)

    def _take(self, chunk: Mapping[str, Any]) -> Iterator[Text]:
        try:
            pieces, usage = read_chunk(chunk, self._request.sampling.logprobs or 0)
        except ValueError as error:
            raise EngineError(
                f"The server at {self._url} sent an invalid chat completion: {error}."
            ) from error
        self._usage = usage or self._usage
        for piece in pieces:
            self.has_begun = True
            for choice in self._meant(piece):
                self._answered.add(choice.index)
                self._check_logprobs(choice, piece)
                yield from choice.take(piece)
            if piece.finish in _WITHHELD:
                yield from self._held()
                raise EngineError(f"The server at {self._url} broke off: {piece.finish}.")

    def _held(self) -> Iterator[Text]:
        for choice in self._choices:
            yield from choice.close()

    def _meant(self, piece: Piece) -> list[ChoiceText]:
        # Greedy choices are all the same: the server was asked for one.
        greedy = self._request.sampling.greedy
        return self._choices if greedy else self._choices[piece.index : piece.index + 1]

    def _check_logprobs(self, choice: ChoiceText, piece: Piece) -> None:
        has_some = choice.has_logprobs or piece.logprobs
        if self._request.sampling.logprobs is not None and piece.text and not has_some:
            raise UsageError(f"--logprobs: the server at {self._url} gives none; leave it out.")

    def _check_number(self, answered: int) -> None:
        if not answered:
            raise EngineError(f"The server at {self._url} sent an empty answer.")
        if answered < len(self._choices):
            raise UsageError(
                f"--n {len(self._choices)}: the server at {self._url} gives {answered} only; "
                "leave it out, and ask several times."
            )

    def _check_texts(self, answered: list[ChoiceText]) -> None:
        for choice in answered:
            if choice.beside and not choice.has_text:
                said = f"The server at {self._url} sent {choice.beside} alone, and no answer."
                raise EngineError(said)

    def _done(self, choice: ChoiceText) -> Done:
        now = time.perf_counter()
        usage = self._usage
        if usage and choice.index and not self._request.sampling.greedy:  # the first has them all
            usage = replace(usage, completion_tokens=0, reasoning_tokens=0)
        return Done(
            finish_reason=choice.finish or "stop",
            usage=usage,
            timings=Timings(0.0, (choice.first or now) - self._started, now - self._started),
            seed=self.seed,
            stop=choice.stop,
            index=choice.index,
        )


_PATH = "/v1/chat/completions"


def why_not(_machine: Machine) -> str | None:
    """Return why this engine is never chosen by itself: the server has to be named."""
    return "no server was named"


def load(model: ServedModel) -> "ChatCompletionsEngine":
    """Return the way to the model: it is loaded already, on its server."""
    return ChatCompletionsEngine(model)


class ChatCompletionsEngine:
    """Sends the messages of each request to one server."""

    def __init__(self, model: ServedModel) -> None:
        self._url = url = model.server.url
        self._wire = Wire(model.server, {})
        self._room = Room(fixed=model.server.in_flight)
        self._quirks: frozenset[str] = frozenset()  # learnt from what the server refused
        self.info = EngineInfo("server", model.name, None, url or "", "unknown", None, {})

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request; closing the generator cancels it."""
        return self._events(request, patient=True)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the server busy with a bounded number of requests; yield answers as they end.

        An answer that breaks off is asked for again, because nobody has seen any of it.
        """

        def answer(request: Request) -> list[Completion]:
            return self._wire.patiently(lambda: collect(self._events(request, patient=False)))

        return answer_all(requests, answer, self._wire.hang_up, self._room)

    def score(self, _requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Raise UsageError: chat completions cannot score."""
        raise cannot("score", self._url)

    def close(self) -> None:
        """Hang up; the engine cannot be used again."""
        self._wire.hang_up()

    def _events(self, request: Request, *, patient: bool) -> Iterator[Text | Done]:
        check(request.sampling, self._url)
        answer = ChatAnswer(request, self._url, time.perf_counter())
        quirks = self._quirks
        while True:
            body = request_body(request, self.info.model, quirks)
            if "seed" in quirks & request.unchosen:
                answer.seed = None
            try:
                with self._wire.open(_PATH, body, patient=patient) as chunks:
                    yield from answer.read(chunks)
                self._quirks |= quirks  # they were the reason, as now it has answered
                return
            except Refused as refused:
                quirk = quirk_in(refused, request, body)
                if quirk is None or answer.has_begun:
                    raise self._explained(refused) from refused
                quirks |= {quirk}

    def _explained(self, refused: Refused) -> TuluError:
        """Return a refusal, with the models that exist if this one does not."""
        if refused.status != 404:
            return refused
        try:
            names = model_names(self._wire.get("/v1/models"))
        except EngineError:
            return refused
        if not names or self.info.model in names:
            return refused
        return ModelNotFound(
            f"The server at {self._url} has no model {self.info.model!r}; -m takes {listed(names)}."
        )
