"""The routes of ours that vLLM's server does not have, as a middleware of it.

vLLM's server samples; prompts, text and the ends of answers are made here by our own rules, so that
a client without a tokenizer gets what one with a tokenizer would make of vLLM's token ids. What
depends on where a thought ends is answered past vLLM's routes, by its engine.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from tulu_cli.core import Done, Request, Text
from tulu_cli.engines.assemble import ChoiceAssembler, take_tokens
from tulu_cli.engines.base import first_line
from tulu_cli.engines.thinking import is_guided
from tulu_cli.engines.vllm.generate import generate
from tulu_cli.engines.vllm.values import lora_request
from tulu_cli.errors import BadInput, EngineDied, EngineError, TuluError
from tulu_cli.prompt import Tokenizer
from tulu_cli.protocol.completions import (
    ANSWER_PATH,
    PROMPT_PATH,
    Envelope,
    by_id,
    read_end_tokens,
    read_thoughts,
    text_chunk,
)
from tulu_cli.protocol.sampling import read_sampling
from tulu_cli.serving.frames import LAST_LINE, AnswerWriter, EventStream, line, read_body, refusal
from tulu_cli.serving.prompts import prompt_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COMPLETIONS = "/v1/completions"


class TuluRoutes:
    """The middleware. vLLM makes it from its name, so its values have to be set beforehand."""

    tokenizer: ClassVar[Tokenizer]
    max_model_len: ClassVar[int | None] = None
    engine: ClassVar[Any] = None  # the AsyncLLM of the server
    adapters: ClassVar[Sequence[Any]] = ()  # those of the engine's spec
    _numbers: ClassVar[Iterator[int]] = count()

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request for a route of ours, or pass it on to vLLM unchanged."""
        from starlette.requests import Request as HttpRequest

        path = scope.get("path") if scope["type"] == "http" else None
        if path not in (PROMPT_PATH, ANSWER_PATH):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(HttpRequest(scope, receive))
            if path == PROMPT_PATH:
                response = await prompt_response(body, self.tokenizer, self.max_model_len)
                await response(scope, receive, send)
                return
            request = read_request(body)
            if is_guided(request):
                if (asked := body.get("model")) in {adapter.name for adapter in self.adapters}:
                    request = replace(request, adapter=asked)
                await self._guided(request, scope, receive, send)
                return
            translator = AnswerTranslator(request, self.tokenizer, send)
        except TuluError as error:
            await (await refusal(None, error))(scope, receive, send)
            return
        target = {"path": _COMPLETIONS, "raw_path": _COMPLETIONS.encode()}
        # vLLM would end an answer at a stop string, but not where we do.
        ours = ("thoughts", "max_reasoning_tokens")
        told = {name: value for name, value in body.items() if name not in ours}
        asked = json.dumps({**told, "stop": []}).encode()
        await self._app({**scope, **target}, again(asked, receive), translator.send)

    async def _guided(
        self, request: Request, scope: "Scope", receive: "Receive", send: "Send"
    ) -> None:
        """Answer a request that `is_guided`, until the client hangs up."""
        envelope, n = Envelope("cmpl", "", 0, chat=False), request.sampling.n
        answer = AnswerWriter(envelope, by_id, n=n, with_ids=True)
        stream = EventStream(answer, self._events(request), usage=True)
        counted = scope["app"].state
        counted.server_load_metrics = getattr(counted, "server_load_metrics", 0) + 1
        task = asyncio.create_task(stream(scope, receive, send))
        watch = asyncio.create_task(hung_up(receive))
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            counted.server_load_metrics -= 1
            for one in (task, watch):
                one.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _events(self, request: Request) -> AsyncIterator[Text | Done]:
        from vllm.v1.engine.exceptions import EngineDeadError

        def name() -> str:
            return f"tulu-{next(self._numbers)}"

        started = time.perf_counter()
        lora = lora_request(request.adapter, self.adapters)
        made = generate(self.engine, request, self.tokenizer, name, started, lora=lora)
        try:
            async with aclosing(made) as events:
                async for event in events:
                    yield event
        except TuluError:
            raise
        except EngineDeadError as error:
            raise EngineDied("vLLM's worker process died.") from error
        except Exception as error:
            raise EngineError(f"vLLM failed while generating: {first_line(error)}.") from error


async def hung_up(receive: "Receive") -> None:
    """Wait until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def read_request(body: Mapping[str, Any]) -> Request:
    """Return the request of a body, for its text and its end. Raise BadInput."""
    ids = body.get("prompt")
    if not isinstance(ids, list) or not body.get("stream") or not body.get("return_token_ids"):
        raise BadInput(
            "This route needs a prompt of token ids, with stream and return_token_ids set to true."
        )
    ends, thoughts = read_end_tokens(body, ()), read_thoughts(body)
    return Request(tuple(ids), read_sampling(body), ends, thoughts=thoughts)


def again(body: bytes, receive: "Receive") -> "Receive":
    """Return a receiver that gives `body` once more, and then what still comes from the client."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> "Message":
        return parts.pop() if parts else await receive()

    return receive_again


class AnswerTranslator:
    """Turns vLLM's token stream into our text stream; other answers pass unchanged.

    Once every choice has ended the stream to the client ends; vLLM then notices a client that has
    gone, and stops.
    """

    def __init__(self, request: Request, tokenizer: Tokenizer, send: "Send") -> None:
        started = time.perf_counter()
        self._choices = [
            ChoiceAssembler(request, tokenizer, index, started)
            for index in range(request.sampling.n)
        ]
        self._top = request.sampling.logprobs or 0
        self._send = send
        self._is_stream = False
        self._has_ended = False
        self._rest = b""

    async def send(self, message: "Message") -> None:
        """Take one ASGI message of vLLM's."""
        if message["type"] == "http.response.start":
            self._is_stream = message["status"] == 200
        if message["type"] != "http.response.body" or not self._is_stream:
            await self._send(message)
            return
        *events, self._rest = (self._rest + message.get("body", b"")).split(b"\n\n")
        for event in events:
            if not self._has_ended:
                await self._take(event.removeprefix(b"data: "))
        if not message.get("more_body", False) and not self._has_ended:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            await self._end()
            return
        told = json.loads(data)
        if not told.get("choices"):  # the usage, or an error
            await self._send(line(told))
            return
        for one in told["choices"]:
            for chunk in self._pieces(one):
                await self._send(chunk)
        if all(isinstance(choice.stop, str) for choice in self._choices):
            await self._end()

    def _pieces(self, told: Mapping[str, Any]) -> Iterator["Message"]:
        choice = self._choices[told["index"]]
        if choice.finish is None:
            for event in take_tokens(choice, told, self._top):
                yield piece(event)
            if choice.finish is not None:
                yield piece(Text("", index=choice.index), choice.done())

    async def _end(self) -> None:
        self._has_ended = True
        await self._send({"type": "http.response.body", "body": LAST_LINE, "more_body": False})


def piece(event: Text, done: Done | None = None) -> "Message":
    """Return a piece of an answer as one event of the stream."""
    return line({"choices": [text_chunk(event, done)]})
