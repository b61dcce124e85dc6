"""An engine in another process: a warm one of ours on its socket, or a vLLM server at a URL.

Token ids go out and come back; the text, and where it ends, is made here as for any engine, so the
answer is the one that an engine in this process would give.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tulu_cli.core import Completion, Done, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import ChoiceAssembler, collect
from tulu_cli.engines.base import EngineSpec, bounded, check_room
from tulu_cli.engines.guidance import grammar
from tulu_cli.engines.in_flight import answer_all
from tulu_cli.engines.wire import Wire
from tulu_cli.errors import NoEngine, TuluError
from tulu_cli.machine import Machine
from tulu_cli.server.dialect import (
    CLIENT_HEADER,
    cached_tokens,
    request_body,
    sampled_tokens,
)
from tulu_cli.server.scoring import read_score, score_body


def why_not(_machine: Machine) -> str | None:
    """Never chosen by itself: there must be a server, and that is another question."""
    return "no server was named, and no warm engine has what is wanted"


def load(spec: EngineSpec) -> "RemoteEngine":
    """Nothing to load: `spec.server` says where it is loaded."""
    return RemoteEngine(spec)


class RemoteEngine:
    """Speaks to one server; holds its lease until `close`."""

    def __init__(self, spec: EngineSpec) -> None:
        assert spec.server is not None, "an engine in another process has an endpoint"
        self._endpoint = spec.server
        self._tokenizer = spec.tokenizer
        self._wire = Wire(spec.server, {CLIENT_HEADER: f"{os.getpid()}-{id(self):x}"})
        self.info = replace(spec.server.info, model=spec.name)

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """The events of one request; closing the generator hangs up, which cancels it."""
        request = bounded(request, self.info.max_model_len)
        check_structure(request)
        started = time.perf_counter()
        choices = [
            ChoiceAssembler(request, self._tokenizer, index, started)
            for index in range(request.sampling.n)
        ]
        body = request_body(request, self._endpoint.info.model)
        with self._wire.open("/v1/completions", body) as chunks:
            yield from read_answer(chunks, choices, request)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the server busy with a bounded number of requests; answers as they end."""
        return answer_all(requests, lambda one: collect(self.stream(one)), self._wire.hang_up)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """The same for scores."""
        return answer_all(requests, self._score, self._wire.hang_up)

    def close(self) -> None:
        """Give the lease back; the engine cannot be used again."""
        self._wire.hang_up()
        if self._endpoint.lease is not None:
            self._endpoint.lease.close()

    def _score(self, request: ScoreRequest) -> Score:
        check_room(request, self.info.max_model_len)
        told = self._wire.post("/v1/completions", score_body(request, self._endpoint.info.model))
        return read_score(request, told)


def check_structure(request: Request) -> None:
    """Raises BadInput for a structure that cannot be one, where the library for it is here."""
    if request.sampling.constraint is not None:
        try:
            grammar(request.sampling.constraint)
        except NoEngine:
            return  # the server has it, and says what is wrong


def read_answer(
    chunks: Iterator[Mapping[str, Any]], choices: list[ChoiceAssembler], request: Request
) -> Iterator[Text | Done]:
    """The events that a server's chunks make. The ends come last, with what was cached."""
    top = request.sampling.logprobs or 0
    for chunk in chunks:
        if usage := chunk.get("usage"):
            for choice in choices:
                choice.cached_tokens = cached_tokens(usage)
        for told in chunk["choices"]:
            # Greedy choices are all the same: the server was asked for one.
            for choice in choices if request.sampling.greedy else [choices[told["index"]]]:
                yield from take(choice, told, top)
        if all(isinstance(choice.stop, str) for choice in choices):
            break  # stop strings are found here: the server would go on
    for choice in choices:
        yield from choice.close("error")
        yield choice.done()


def take(choice: ChoiceAssembler, told: Mapping[str, Any], top: int) -> Iterator[Text]:
    """The text that a piece of a choice makes; what comes after its end is ignored."""
    if choice.finish is not None:
        return
    for token, logprob in sampled_tokens(told, top):
        yield from choice.push(token, logprob)
        if choice.finish is not None:
            return
    if (reason := told.get("finish_reason")) is not None:
        yield from choice.close("length" if reason == "length" else "stop")
