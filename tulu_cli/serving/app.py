"""An engine of ours as an OpenAI-compatible server: a thin ASGI application."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from tulu_cli.core import EngineInfo, Request, ScoreRequest
from tulu_cli.engines.assemble import collect
from tulu_cli.errors import BadInput, EngineError, TuluError
from tulu_cli.prompt import Tokenizer, encode_chat, parse_messages
from tulu_cli.protocol import completions
from tulu_cli.protocol.completions import Envelope
from tulu_cli.protocol.fields import is_off, read_object, read_switch
from tulu_cli.protocol.sampling import read_sampling
from tulu_cli.protocol.scores import read_score_request, score_choice, score_usage
from tulu_cli.serving.engine_thread import END, EngineThread, Job
from tulu_cli.serving.frames import AnswerWriter, EventStream, json_response, read_body, refusal
from tulu_cli.serving.prompts import prompt_response
from tulu_cli.text import listed

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

_NONE: Mapping[str, str] = {}


def make_app(
    engine: EngineThread,
    info: EngineInfo,
    tokenizer: Tokenizer,
    end_token_ids: tuple[int, ...],
    adapters: Mapping[str, str] = _NONE,
) -> "Starlette":
    """Return the ASGI application over a loaded engine; `adapters` has the directory of each."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    service = Service(engine, info, tokenizer, end_token_ids, adapters)
    routes = [
        Route("/health", service.health),
        Route("/load", service.load),
        Route("/v1/models", service.models),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
        Route(completions.PROMPT_PATH, service.prompt, methods=["POST"]),
        Route(completions.ANSWER_PATH, service.completions, methods=["POST"]),
    ]
    handlers: Any = {TuluError: refusal, HTTPException: http_error}
    return Starlette(routes=routes, exception_handlers=handlers)


class Service:
    """The routes. `running` is the number of requests whose answer is not finished."""

    def __init__(
        self,
        engine: EngineThread,
        info: EngineInfo,
        tokenizer: Tokenizer,
        end_token_ids: tuple[int, ...],
        adapters: Mapping[str, str] = _NONE,
    ) -> None:
        self._adapters = adapters
        self._engine = engine
        self._info = info
        self._tokenizer = tokenizer
        self._end_token_ids = end_token_ids
        self._numbers = count(1)
        self._created = int(time.time())
        self.running = 0

    async def health(self, _http: "HttpRequest") -> "Response":
        """Answer 200 while the engine can answer, and 503 once it cannot."""
        from starlette.responses import Response

        return Response(status_code=200 if self._engine.is_alive else 503)

    async def load(self, _http: "HttpRequest") -> "Response":
        """Answer with the number of running requests."""
        return json_response({"server_load": self.running})

    async def models(self, _http: "HttpRequest") -> "Response":
        """Answer with the one model that is loaded, and the adapters beside it, as vLLM does."""
        model = {
            "id": self._info.model,
            "object": "model",
            "created": self._created,
            "owned_by": "tulu",
            "max_model_len": self._info.max_model_len,
        }
        beside = [
            {**model, "id": name, "root": directory, "parent": self._info.model}
            for name, directory in self._adapters.items()
        ]
        return json_response({"object": "list", "data": [model, *beside]})

    async def completions(self, http: "HttpRequest") -> "Response | EventStream":
        """Complete a prompt of token ids, or of text without a chat template."""
        body = await read_body(http)
        if body.get("prompt_logprobs") is not None:
            return await self._score(http, body)
        sampling = read_sampling(body)
        ids = await asyncio.to_thread(self._prompt_ids, body.get("prompt"))
        return await self._answer(http, body, self._request(body, ids, sampling), chat=False)

    async def chat(self, http: "HttpRequest") -> "Response | EventStream":
        """Answer a conversation, through the model's chat template."""
        body = await read_body(http)
        for name, off in (("logprobs", (False,)), ("top_logprobs", (0,))):
            if not is_off(body.get(name), off):
                raise BadInput(f"{name} of chats are not supported here: use /v1/completions.")
        sampling = read_sampling({**body, "logprobs": None})
        ids = await asyncio.to_thread(self._chat_ids, body.get("messages"))
        return await self._answer(http, body, self._request(body, ids, sampling), chat=True)

    async def prompt(self, http: "HttpRequest") -> "Response":
        """Answer with a prompt's token ids, for a client that has not loaded the tokenizer."""
        body = await read_body(http)
        return await prompt_response(body, self._tokenizer, self._info.max_model_len)

    # A long text takes seconds to become ids, and must not keep the others waiting.
    def _chat_ids(self, messages: Any) -> tuple[int, ...]:
        conversation = parse_messages(json.dumps(messages).encode(), "messages")
        return encode_chat(self._tokenizer, conversation, self._info.max_model_len)

    def _prompt_ids(self, prompt: Any) -> tuple[int, ...]:
        if isinstance(prompt, str):
            self._tokenizer.check_length(prompt, self._info.max_model_len)
            return self._tokenizer.encode_raw(prompt)
        if isinstance(prompt, list) and prompt and all(type(item) is int for item in prompt):
            if not all(0 <= item < self._tokenizer.vocab_size for item in prompt):
                raise BadInput("The prompt has a token id that is not in the vocabulary.")
            return tuple(prompt)
        raise BadInput("The prompt must be a text or a list of token ids; send several one by one.")

    def _request(self, body: Mapping[str, Any], ids: tuple[int, ...], sampling: Any) -> Request:
        adapter = self._adapter(body)
        ends = completions.read_end_tokens(body, self._end_token_ids)
        thoughts = completions.read_thoughts(body)
        if thoughts is not None and not read_switch(body, "stream"):
            raise BadInput("thoughts are told from the answer in a stream alone.")
        if thoughts is None and sampling.max_reasoning_tokens is not None:
            raise BadInput("max_reasoning_tokens is not supported here: leave it out.")
        return Request(ids, sampling, ends, thoughts=thoughts, adapter=adapter)

    def _adapter(self, body: Mapping[str, Any]) -> str | None:
        """Return the adapter that a body names as its model, None for the model itself."""
        if (asked := body.get("model")) in (None, self._info.model):
            return None
        if isinstance(asked, str) and asked in self._adapters:
            return asked
        beside = f", with the adapters {listed(list(self._adapters))}" if self._adapters else ""
        raise BadInput(f"The model here is {self._info.model!r}{beside}, not {asked!r}.")

    async def _score(self, http: "HttpRequest", body: Mapping[str, Any]) -> "Response":
        adapter = self._adapter(body)
        ids = await asyncio.to_thread(self._prompt_ids, body.get("prompt"))
        request = replace(read_score_request(body, ids), adapter=adapter)
        envelope = self._envelope(adapter, chat=False)
        client = http.headers.get(completions.CLIENT_HEADER) or envelope.name
        async with aclosing(self._events(request, client, http)) as events:
            async for _, score in events:
                if isinstance(score, TuluError):
                    raise score
                choice = score_choice(request, score, body["prompt_logprobs"])
                return json_response(envelope.whole([choice], score_usage(request)))
        raise EngineError("The request was cancelled.")

    async def _answer(
        self, http: "HttpRequest", body: Mapping[str, Any], request: Request, *, chat: bool
    ) -> "Response | EventStream":
        envelope = self._envelope(request.adapter, chat=chat)
        streamed = read_switch(body, "stream")
        usage = read_switch(read_object(body, "stream_options"), "include_usage", "stream_options.")
        read_switch(body, "return_tokens_as_token_ids")  # they always are
        answer = AnswerWriter(envelope, with_ids=read_switch(body, "return_token_ids"))
        client = http.headers.get(completions.CLIENT_HEADER) or envelope.name
        events = self._events(request, client, http)
        if streamed:
            return EventStream(answer, events, usage=usage)
        finished = collect([event async for event in events])
        if not finished:
            raise EngineError("The request was cancelled.")
        return json_response(answer.whole(finished))

    def _envelope(self, adapter: str | None, *, chat: bool) -> Envelope:
        name = f"{'chatcmpl' if chat else 'cmpl'}-{next(self._numbers)}"
        return Envelope(name, adapter or self._info.model, int(time.time()), chat)

    async def _events(
        self, request: Request | ScoreRequest, client: str, http: "HttpRequest"
    ) -> AsyncGenerator[Any, None]:
        """Yield the events of a request; closing the generator or hanging up cancels it."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Any] = asyncio.Queue()

        def put(event: Any) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, event)

        job = Job(request, client, put)
        watch = asyncio.create_task(cancel_on_disconnect(http, job))
        self.running += 1
        self._engine.submit(job)
        try:
            while (event := await arrived.get()) is not END and not job.cancelled:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            job.cancelled = True
            self.running -= 1
            watch.cancel()


async def cancel_on_disconnect(http: "HttpRequest", job: Job) -> None:
    """Wait until the client hangs up, then let the engine drop its request."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
    job.cancelled = True


async def http_error(_http: Any, error: Any) -> "Response":
    """Answer a request whose path or method does not exist."""
    told = {"message": str(error.detail), "type": "NotFound", "code": error.status_code}
    return json_response({"error": told}, error.status_code)
