"""An engine of ours as an OpenAI-compatible server: a thin ASGI application."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Done, EngineInfo, Request, ScoreRequest, Text, Timings, Usage
from tulu_cli.engines.assemble import collect
from tulu_cli.errors import EngineError, TuluError
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.inspect.tokens import token_bytes
from tulu_cli.protocol import completions
from tulu_cli.protocol.completions import Envelope
from tulu_cli.protocol.fields import BadField
from tulu_cli.protocol.logprobs import Spelling
from tulu_cli.protocol.scores import read_score_request, score_choice, score_usage
from tulu_cli.serving.asked import Asked, BodyReader, read_prompts, unknown_fields
from tulu_cli.serving.engine_thread import END, EngineThread, Job
from tulu_cli.serving.frames import (
    AnswerWriter,
    Echo,
    EventStream,
    json_response,
    read_body,
    refusal,
)
from tulu_cli.serving.prompts import prompt_response
from tulu_cli.text import listed, one_line

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

_NONE: Mapping[str, str] = {}
_MOST_NAMES = 1000  # of unknown fields; after so many the log has said enough


def make_app(
    engine: EngineThread,
    info: EngineInfo,
    tokenizer: Tokenizer,
    end_token_ids: tuple[int, ...],
    names: tuple[str, ...] = (),
    adapters: Mapping[str, str] = _NONE,
) -> "Starlette":
    """Return the ASGI application over a loaded engine.

    Its model has these names; `adapters` has the directory of each by its name.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    service = Service(engine, info, tokenizer, end_token_ids, names or (info.model,), adapters)
    routes = [
        Route("/health", service.health),
        Route("/load", service.load),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
        Route(completions.PROMPT_PATH, service.prompt, methods=["POST"]),
        Route(completions.ANSWER_PATH, service.completions, methods=["POST"]),
    ]
    handlers: Any = {TuluError: refusal, HTTPException: http_error, Exception: bug}
    return Starlette(routes=routes, exception_handlers=handlers)


class Service:
    """The routes. `running` is the number of requests whose answer is not finished."""

    def __init__(
        self,
        engine: EngineThread,
        info: EngineInfo,
        tokenizer: Tokenizer,
        end_token_ids: tuple[int, ...],
        names: tuple[str, ...],
        adapters: Mapping[str, str],
    ) -> None:
        self._adapters = adapters
        self._engine = engine
        self._info = info
        self._tokenizer = tokenizer
        self._names = names
        self._reader = BodyReader(names, adapters, tokenizer, end_token_ids, info.max_model_len)
        self._numbers = count(1)
        self._created = int(time.time())
        self._said: set[str] = set()
        self.running = 0

    async def health(self, _http: "HttpRequest") -> "Response":
        """Answer 200 while the engine can answer, and 503 once it cannot."""
        from starlette.responses import Response

        return Response(status_code=200 if self._engine.is_alive else 503)

    async def load(self, _http: "HttpRequest") -> "Response":
        """Answer with the number of running requests."""
        return json_response({"server_load": self.running})

    async def models(self, _http: "HttpRequest") -> "Response":
        """Answer with the model by each of its names, and the adapters beside it, as vLLM does."""
        listing = [self._row(one) for one in (*self._names, *self._adapters)]
        return json_response({"object": "list", "data": listing})

    async def model(self, http: "HttpRequest") -> "Response":
        """Answer with the model or adapter of that name."""
        name = http.path_params["name"]
        self._reader.adapter({"model": name})
        return json_response(self._row(name))

    async def completions(self, http: "HttpRequest") -> "Response | EventStream":
        """Complete prompts of token ids, or of text without a chat template."""
        body = await read_body(http)
        self._log_unknown(body, chat=False)
        if body.get("prompt_logprobs") is not None:
            return await self._score(http, body)
        asked = await asyncio.to_thread(self._reader.completion, body)
        return await self._answer(http, asked, chat=False)

    async def chat(self, http: "HttpRequest") -> "Response | EventStream":
        """Answer a conversation, through the model's chat template."""
        body = await read_body(http)
        self._log_unknown(body, chat=True)
        asked = await asyncio.to_thread(self._reader.chat, body)
        return await self._answer(http, asked, chat=True)

    async def prompt(self, http: "HttpRequest") -> "Response":
        """Answer with a prompt's token ids, for a client that has not loaded the tokenizer."""
        body = await read_body(http)
        return await prompt_response(body, self._tokenizer, self._info.max_model_len)

    def _row(self, name: str) -> dict[str, Any]:
        """Return a name of the model or an adapter as OpenAI has a model, with vLLM's fields."""
        row = {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "tulu",
            "root": self._info.model,
            "max_model_len": self._info.max_model_len,
        }
        if name in self._adapters:
            row |= {"root": self._adapters[name], "parent": self._info.model}
        return row

    def _log_unknown(self, body: Mapping[str, Any], *, chat: bool) -> None:
        """Say in the log which fields are ignored, each once."""
        names = unknown_fields(body, chat=chat) - self._said
        if not names or len(self._said) > _MOST_NAMES:
            return
        self._said |= names
        said = one_line(listed(tuple(sorted(names))), 500)
        sys.stderr.write(f"tulu: unknown fields of requests are ignored: {said}.\n")

    async def _score(self, http: "HttpRequest", body: Mapping[str, Any]) -> "Response":
        adapter = self._reader.adapter(body)
        prompts = read_prompts(body.get("prompt"))
        if len(prompts) > 1:
            raise BadField("prompt", "must be one prompt where prompt_logprobs are wanted.")
        ids = await asyncio.to_thread(self._reader.token_ids, prompts[0])
        request = replace(read_score_request(body, ids), adapter=adapter)
        (score,) = await self._scores(http, [request], self._client(http))
        choice = score_choice(request, score, body["prompt_logprobs"])
        whole = self._envelope(adapter, chat=False).whole([choice], score_usage(request))
        return json_response(whole)

    async def _answer(
        self, http: "HttpRequest", asked: Asked, *, chat: bool
    ) -> "Response | EventStream":
        client, n = self._client(http), asked.sampling.n
        answer = AnswerWriter(
            self._envelope(asked.requests[0].adapter, chat=chat),
            self._spelling(asked),
            n=n,
            echoes=await self._echoes(http, asked, client),
            with_ids=asked.with_ids,
        )
        events = self._choices(http, asked, client)
        if asked.stream:
            return EventStream(answer, events, usage=asked.with_usage)
        finished = collect([event async for event in events])
        if len(finished) < len(asked.requests) * n:
            raise EngineError("The request was cancelled.")
        return json_response(answer.whole(finished))

    async def _echoes(self, http: "HttpRequest", asked: Asked, client: str) -> list[Echo]:
        """Return the prompts with which the answers are to begin, scored if that is asked for."""
        if asked.echoed is None:
            return []
        if (top := asked.sampling.logprobs) is None:
            return [Echo(text) for text in asked.echoed]
        adapter = asked.requests[0].adapter
        prompts = [request.prompt_token_ids for request in asked.requests]
        # Before the first token stands nothing that could be asked about it.
        requests = [ScoreRequest(ids, 1, max(1, top), adapter) for ids in prompts if len(ids) > 1]
        scores = iter(await self._scores(http, requests, client))
        entries = [next(scores).tokens if len(ids) > 1 else () for ids in prompts]
        return [
            Echo(text, ids[0], tuple(replace(one, top=one.top[:top]) for one in tokens))
            for text, ids, tokens in zip(asked.echoed, prompts, entries, strict=True)
        ]

    async def _scores(
        self, http: "HttpRequest", requests: Sequence[ScoreRequest], client: str
    ) -> list[Any]:
        """Return the scores of requests, in their order. Raise the first error."""
        found: dict[int, Any] = {}
        async with aclosing(self._events(requests, client, http)) as events:
            async for place, (_, score) in events:
                if isinstance(score, TuluError):
                    raise score
                found[place] = score
        if len(found) < len(requests):
            raise EngineError("The request was cancelled.")
        return [found[place] for place in range(len(requests))]

    async def _choices(
        self, http: "HttpRequest", asked: Asked, client: str
    ) -> AsyncGenerator[Text | Done, None]:
        """Yield the events of all choices, those of the first prompt numbered first."""
        n = asked.sampling.n
        if not asked.generates:
            for index in range(len(asked.requests) * n):
                usage = Usage(len(asked.requests[index // n].prompt_token_ids), 0)
                yield Done("length", usage, Timings(0, 0, 0), None, index=index)
            return
        async with aclosing(self._events(asked.requests, client, http)) as events:
            async for place, event in events:
                yield replace(event, index=place * n + event.index) if place else event

    def _spelling(self, asked: Asked) -> Spelling:
        if asked.as_ids:
            return completions.by_id
        return lambda token: token_bytes(self._tokenizer, int(token))

    def _envelope(self, adapter: str | None, *, chat: bool) -> Envelope:
        name = f"{'chatcmpl' if chat else 'cmpl'}-{next(self._numbers)}"
        return Envelope(name, adapter or self._info.model, int(time.time()), chat)

    def _client(self, http: "HttpRequest") -> str:
        return http.headers.get(completions.CLIENT_HEADER) or f"request-{next(self._numbers)}"

    async def _events(
        self, requests: Sequence[Request | ScoreRequest], client: str, http: "HttpRequest"
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """Yield the events of requests, each with its place.

        Closing the generator or hanging up cancels them all.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()

        def put(place: int, event: Any) -> None:
            with suppress(RuntimeError):  # the server has stopped, and its loop is closed
                loop.call_soon_threadsafe(arrived.put_nowait, (place, event))

        jobs = [Job(one, client, partial(put, place)) for place, one in enumerate(requests)]
        watch = asyncio.create_task(cancel_on_disconnect(http, jobs))
        self.running += 1
        for job in jobs:
            self._engine.submit(job)
        left = len(jobs)
        try:
            while left:
                place, event = await arrived.get()
                if jobs[place].cancelled:
                    return
                if event is END:
                    left -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield place, event
        finally:
            cancel(jobs)
            self.running -= 1
            watch.cancel()


async def cancel_on_disconnect(http: "HttpRequest", jobs: Sequence[Job]) -> None:
    """Wait until the client hangs up, then let the engine drop its requests."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
    cancel(jobs)


def cancel(jobs: Sequence[Job]) -> None:
    """Let the engine drop jobs."""
    for job in jobs:
        job.cancelled = True


async def bug(_http: Any, error: Exception) -> "Response":
    """Answer a request that an error of ours ended, and say it in the log."""
    sys.stderr.write(f"tulu: this is a bug, {type(error).__name__}: {one_line(str(error), 500)}\n")
    told = {"message": "The server has a bug: see its log.", "type": "server_error", "param": None}
    return json_response({"error": {**told, "code": None}}, 500)


async def http_error(_http: Any, error: Any) -> "Response":
    """Answer a request whose path or method does not exist."""
    told = {"message": str(error.detail), "type": "invalid_request_error", "param": None}
    return json_response({"error": {**told, "code": None}}, error.status_code)
