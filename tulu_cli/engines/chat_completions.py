"""A server that takes OpenAI's chat completions: any but vLLM's and ours, which take token ids.

Messages go out and text comes back. The server makes the prompt, counts the tokens and ends the
answer; stop strings are looked for here too, as not every server knows them.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tulu_cli.core import Completion, Done, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.chat_answer import Answer
from tulu_cli.engines.chat_dialect import cannot, check, listed, model_names, quirk_in, request_body
from tulu_cli.engines.in_flight import answer_all
from tulu_cli.engines.refusal import Refused
from tulu_cli.engines.wire import Wire
from tulu_cli.errors import EngineError, ModelNotFound, TuluError
from tulu_cli.machine import Machine

_PATH = "/v1/chat/completions"


def why_not(_machine: Machine) -> str | None:
    """Never chosen by itself: such a server has to be named."""
    return "no server was named"


def load(spec: EngineSpec) -> "ChatCompletionsEngine":
    """Nothing to load: `spec.server` says where it is loaded."""
    return ChatCompletionsEngine(spec)


class ChatCompletionsEngine:
    """Speaks to one server, by the messages of each request."""

    def __init__(self, spec: EngineSpec) -> None:
        assert spec.server is not None, "an engine elsewhere has an endpoint"
        self._url = spec.server.url
        self._wire = Wire(spec.server, {})
        self._quirks: frozenset[str] = frozenset()  # learnt from what the server refused
        self.info = replace(spec.server.info, model=spec.name)

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """The events of one request; closing the generator hangs up, which cancels it."""
        return self._events(request, patient=True)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the server busy with a bounded number of requests; answers as they end.

        Nobody has seen an answer before it is whole, so one that breaks off is asked for again.
        """

        def answer(request: Request) -> list[Completion]:
            return self._wire.patiently(lambda: collect(self._events(request, patient=False)))

        return answer_all(requests, answer, self._wire.hang_up)

    def score(self, _requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """There is no way to ask for it: raises UsageError."""
        raise cannot("score", self._url)

    def close(self) -> None:
        """The engine cannot be used again."""
        self._wire.hang_up()

    def _events(self, request: Request, *, patient: bool) -> Iterator[Text | Done]:
        check(request.sampling, self._url)
        answer = Answer(request, self._url, time.perf_counter())
        while True:
            body = request_body(request, self.info.model, self._quirks)
            try:
                with self._wire.open(_PATH, body, patient=patient) as chunks:
                    yield from answer.read(chunks)
                return
            except Refused as refused:
                quirk = quirk_in(refused, body)
                if quirk is None or answer.has_begun:
                    raise self._explained(refused) from refused
                self._quirks |= {quirk}

    def _explained(self, refused: Refused) -> TuluError:
        """A refusal; where the model is not there, with those that are."""
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
