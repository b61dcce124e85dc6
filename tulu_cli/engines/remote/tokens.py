"""An engine in another process: a warm one of ours on its socket, or a vLLM server at a URL.

Token ids go out and come back; the text, and where it ends, is made by our own code, here or in a
warm engine of ours, so the answer is the one that an engine in this process would give.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from tulu_cli.core import (
    Completion,
    Done,
    Message,
    Request,
    Score,
    ScoreRequest,
    Text,
    ThoughtFormat,
    TokenIds,
)
from tulu_cli.engines.assemble import (
    ChoiceAssembler,
    ToldChoice,
    collect,
    read_answer,
    take_text,
    take_tokens,
    until_stopped,
)
from tulu_cli.engines.base import EngineSpec, bounded, check_fits_context, first_line
from tulu_cli.engines.guidance import grammar
from tulu_cli.engines.remote.pool import Room, answer_all
from tulu_cli.engines.remote.wire import Unheard, Wire
from tulu_cli.engines.thinking import ContinuedChoice, is_guided
from tulu_cli.errors import EngineDied, EngineError, NoEngine, TuluError
from tulu_cli.machine import Machine
from tulu_cli.prompt.chat import NOTHING
from tulu_cli.prompt.thinking import thinking_prompt
from tulu_cli.protocol.completions import (
    ANSWER_PATH,
    CLIENT_HEADER,
    PROMPT_PATH,
    Unreadable,
    cached_tokens,
    read_thoughts,
    reading_chunk,
    request_body,
    thoughts_body,
)
from tulu_cli.protocol.metrics import METRICS_PATH, read_waiting
from tulu_cli.protocol.scores import read_score, score_body


def why_not(_machine: Machine) -> str | None:
    """Return why this engine is never chosen by itself: there must be a server."""
    return "no server was named, and no warm engine has what is wanted"


def load(spec: EngineSpec) -> "RemoteEngine":
    """Return an engine for the server at `spec.server`, which has loaded its model."""
    return RemoteEngine(spec)


class RemoteEngine:
    """Sends token ids to one server; holds its lease until `close`."""

    def __init__(self, spec: EngineSpec) -> None:
        assert spec.server is not None, "an engine in another process has an endpoint"
        self._endpoint = spec.server
        self._tokenizer = spec.tokenizer
        self._wire = Wire(spec.server, {CLIENT_HEADER: f"{os.getpid()}-{id(self):x}"})
        self.info = replace(spec.server.info, model=spec.name)
        self._gives_whole = True  # until a gateway has cut what came late
        self._room = Room(self._waiting, spec.server.in_flight)
        # Scores are long, and a server that reads has no use for many at a time: it is not asked.
        self._score_room = Room(fixed=spec.server.in_flight)

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request; closing the generator cancels it.

        A warm engine of ours makes the text too, so a process that asks one thing needs no
        tokenizer.
        """
        if self._endpoint.is_ours:
            return self._told(request)
        return self._continued(request) if is_guided(request) else self._assembled(request)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the server busy with a bounded number of requests; yield answers as they end."""
        return answer_all(requests, self._answer, self._wire.hang_up, self._room)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Keep the server busy with a bounded number of scores; yield them as they end."""
        return answer_all(requests, self._score, self._wire.hang_up, self._score_room)

    def close(self) -> None:
        """Give the lease back; the engine cannot be used again."""
        self._wire.hang_up()
        if self._endpoint.lease is not None:
            self._endpoint.lease.close()

    @property
    def _place(self) -> str:
        return self._endpoint.url or "the socket"

    def _waiting(self) -> int | None:
        """Return how many requests wait in the server, None where it does not say."""
        try:
            return read_waiting(self._wire.text(METRICS_PATH))
        except TuluError:
            return None

    def _answer(self, request: Request) -> list[Completion]:
        """Return the choices of a request. Raise EngineDied if the server broke off one of them."""
        choices = collect(self._events(request))
        if any(choice.done.finish_reason == "error" for choice in choices):
            raise EngineDied(f"The server at {self._place} broke off an answer.")
        return choices

    def _events(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request, all at its end where nobody has to see them before.

        To read each token as it comes takes this process longer than a large server to make it.
        """
        if is_guided(request):
            return self.stream(request)  # a warm engine of ours follows a thought itself
        # A server that looks for stop strings may not see the signs of a thought.
        is_seen_alike = request.thoughts is None or not request.sampling.stop
        if self._gives_whole and is_seen_alike:
            with suppress(Unheard):
                return iter(list(self._assembled(request, whole=True)))
            self._gives_whole = False
        return self._assembled(request)

    def _told(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request, with the text that the server makes."""
        request, started = self._checked(request), time.perf_counter()
        choices = [ToldChoice(request, index, started) for index in range(request.sampling.n)]
        body = request_body(request, request.adapter or self._endpoint.info.model)
        body |= {"stop": list(request.sampling.stop), **thoughts_body(request.thoughts)}
        if request.sampling.max_reasoning_tokens is not None:
            body["max_reasoning_tokens"] = request.sampling.max_reasoning_tokens
        with self._wire.open(ANSWER_PATH, body) as chunks, self._readable():
            yield from read_answer(chunks, choices, request, take_text)

    def _assembled(self, request: Request, *, whole: bool = False) -> Iterator[Text | Done]:
        """Yield the events of a request, with text made here from token ids."""
        request, started = self._checked(request), time.perf_counter()
        choices = [
            ChoiceAssembler(request, self._tokenizer, index, started)
            for index in range(request.sampling.n)
        ]
        model = request.adapter or self._endpoint.info.model
        body = request_body(request, model, stream=not whole)
        with self._wire.open("/v1/completions", body) as chunks, self._readable():
            yield from read_answer(until_stopped(chunks, choices), choices, request, take_tokens)

    def _continued(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request that `is_guided`, one choice after the other."""
        request, started = self._checked(request), time.perf_counter()
        for index in range(request.sampling.n):
            choice = ContinuedChoice(request, self._tokenizer, index, started)
            yield from self._choice(choice, request)

    def _choice(self, choice: ContinuedChoice, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a choice, for which the server is asked as often as needed."""
        top = request.sampling.logprobs or 0
        while choice.finish is None:
            yield from choice.begin()
            if choice.finish is not None:
                break
            body = request_body(choice.asked, request.adapter or self._endpoint.info.model)
            is_first = choice.asked.prompt == request.prompt
            with self._wire.open("/v1/completions", body) as chunks, self._readable():
                for chunk in chunks:
                    with reading_chunk():
                        pieces = list(chunk["choices"])
                        if is_first and (usage := chunk.get("usage")):
                            choice.cached_tokens = cached_tokens(usage)
                    for told in pieces:
                        yield from take_tokens(choice, told, top)
                    if choice.is_stale or isinstance(choice.stop, str):
                        break
                else:
                    yield from choice.close("error")
        yield choice.done()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raise EngineError where a part of an answer is not as vLLM's."""
        try:
            yield
        except Unreadable as error:
            raise EngineError(
                f"The answer of the server at {self._place} cannot be read: {first_line(error)}."
            ) from error

    def _checked(self, request: Request) -> Request:
        check_structure(request)
        return bounded(request, self.info.max_model_len)

    def _score(self, request: ScoreRequest) -> Score:
        check_fits_context(request, self.info.max_model_len)
        model = request.adapter or self._endpoint.info.model
        told = self._wire.post("/v1/completions", score_body(request, model))
        return read_score(request, told)


def check_structure(request: Request) -> None:
    """Raise BadInput for a structure that is not valid, if the library for it is installed."""
    if request.sampling.constraint is not None:
        try:
            grammar(request.sampling.constraint)
        except NoEngine:
            return  # the server has it, and says what is wrong


# More is in no model's context, and would be sent for nothing.
_MOST_CHARACTERS = 2**22


def chat_prompt(
    spec: EngineSpec,
    conversation: Sequence[Message],
    variables: Mapping[str, Any] = NOTHING,
    *,
    continue_final: bool = False,
    allow_special: bool = False,
    strict_roles: bool = False,
) -> tuple[TokenIds, ThoughtFormat | None]:
    """Return what `thinking_prompt` returns; raise what it raises.

    A warm engine of ours is asked for it. Raise EngineDied if it is gone.
    """
    switches = {
        "continue_final": continue_final,
        "allow_special": allow_special,
        "strict_roles": strict_roles,
    }
    if _asks(spec, sum(len(message.content) for message in conversation)):
        from tulu_cli.protocol.prompts import chat_body

        told = _asked(spec, chat_body(conversation, variables, **switches))
        return tuple(told["prompt_token_ids"]), read_thoughts(told)
    prompt = spec.tokenizer, conversation, spec.max_model_len, variables
    return thinking_prompt(*prompt, **switches)  # type: ignore[arg-type]


def raw_ids(spec: EngineSpec, text: str) -> TokenIds:
    """Return the token ids of a plain text as `Tokenizer.encode_raw` does; raise what it raises.

    A warm engine of ours is asked for them. Raise EngineDied if it is gone.
    """
    if _asks(spec, len(text)):
        from tulu_cli.protocol.prompts import text_body

        return tuple(_asked(spec, text_body(text))["prompt_token_ids"])
    spec.tokenizer.check_length(text, spec.max_model_len)
    return spec.tokenizer.encode_raw(text)


def _asks(spec: EngineSpec, characters: int) -> bool:
    return spec.server is not None and spec.server.is_ours and characters <= _MOST_CHARACTERS


def _asked(spec: EngineSpec, body: Mapping[str, Any]) -> Mapping[str, Any]:
    from tulu_cli.engines.remote.wire import Wire

    assert spec.server is not None, "a prompt is asked of a server"
    told: Mapping[str, Any] = Wire(spec.server, {}).post(PROMPT_PATH, body)
    return told
