"""The form of what the server says: OpenAI's objects, whole or as server-sent events."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Done, Text
from tulu_cli.errors import BadInput, EngineDied, EngineError, TuluError
from tulu_cli.protocol import completions

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response
    from starlette.types import Message as AsgiMessage
    from starlette.types import Receive, Scope, Send


class Frame:
    """What is around the choices of an answer, in the form of completions or of chats."""

    def __init__(self, name: str, model: str, *, chat: bool, with_ids: bool) -> None:
        self.name = name
        self._chat = chat
        self._with_ids = with_ids
        self._kind = "chat.completion" if chat else "text_completion"
        self._head = {"id": name, "created": int(time.time()), "model": model}

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """One object of a stream."""
        kind = f"{self._kind}.chunk" if self._chat else self._kind
        return {**self._head, "object": kind, "choices": choices, **more}

    def piece(self, event: Text) -> dict[str, Any]:
        """A piece of text as a chunk."""
        return self.chunk(
            [self._form(completions.text_chunk(event, with_ids=self._with_ids), "delta")]
        )

    def end(self, done: Done) -> dict[str, Any]:
        """The end of a choice as a chunk."""
        empty = Text("", index=done.index)
        choice = completions.text_chunk(empty, with_ids=self._with_ids, finish=done)
        return self.chunk([self._form(choice, "delta")])

    async def whole(self, events: AsyncIterator[Text | Done]) -> dict[str, Any]:
        """The finished answer as one object."""
        pieces: dict[int, list[Text]] = {}
        ends: dict[int, Done] = {}
        async for event in events:
            if isinstance(event, Done):
                ends[event.index] = event
            else:
                pieces.setdefault(event.index, []).append(event)
        if not ends:
            raise EngineError("The request was cancelled.")
        choices = [self._choice(pieces.get(index, []), ends[index]) for index in sorted(ends)]
        usage = completions.usage_object(list(ends.values()))
        return {**self._head, "object": self._kind, "choices": choices, "usage": usage}

    def _choice(self, pieces: list[Text], done: Done) -> dict[str, Any]:
        whole = Text(
            "".join(piece.text for piece in pieces),
            tuple(token for piece in pieces for token in piece.token_ids),
            done.index,
            tuple(entry for piece in pieces for entry in piece.logprobs),
        )
        return self._form(
            completions.text_chunk(whole, with_ids=self._with_ids, finish=done), "message"
        )

    def _form(self, choice: dict[str, Any], place: str) -> dict[str, Any]:
        if self._chat:
            choice[place] = {"role": "assistant", "content": choice.pop("text")}
        return choice


class EventStream:
    """An answer as server-sent events; the first one decides between an error status and 200."""

    def __init__(self, frame: Frame, events: AsyncIterator[Text | Done], *, usage: bool) -> None:
        self._frame = frame
        self._events = events
        self._usage = usage

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send the answer. What is wrong with the request is known before the first event."""
        events = self._events
        try:
            try:
                first = await anext(events)
            except TuluError as error:
                await (await refusal(None, error))(scope, receive, send)
                return
            except StopAsyncIteration:  # cancelled before it began
                return
            await send(_STREAM_HEAD)
            await self._send_all(first, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            pass  # the client has hung up
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    async def _send_all(self, first: Text | Done, send: "Send") -> None:
        ends: list[Done] = []
        try:
            await self._send_event(first, ends, send)
            async for event in self._events:
                await self._send_event(event, ends, send)
        except TuluError as error:
            await send(line(error_object(error)))
        if self._usage and ends:
            await send(line(self._frame.chunk([], usage=completions.usage_object(ends))))
        await send({"type": "http.response.body", "body": LAST_LINE, "more_body": True})

    async def _send_event(self, event: Text | Done, ends: list[Done], send: "Send") -> None:
        if isinstance(event, Done):
            ends.append(event)
            await send(line(self._frame.end(event)))
        elif event.text or event.token_ids:
            await send(line(self._frame.piece(event)))


LAST_LINE = b"data: [DONE]\n\n"
_STREAM_HEAD: "AsgiMessage" = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


def line(document: Mapping[str, Any]) -> "AsgiMessage":
    """A document as one event of a stream."""
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return {
        "type": "http.response.body",
        "body": b"data: " + data.encode("utf-8", "replace") + b"\n\n",
        "more_body": True,
    }


def json_response(document: Mapping[str, Any], status: int = 200) -> "Response":
    """A document as the whole body."""
    from starlette.responses import Response

    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return Response(data, status, media_type="application/json")


def error_object(error: TuluError) -> dict[str, Any]:
    """An error of ours in OpenAI's form: its class is the type, so that a client of ours has it."""
    told = {"message": str(error), "type": type(error).__name__, "code": int(error.exit_code)}
    return {"error": told}


async def refusal(_http: Any, error: Exception) -> "Response":
    """A request that is refused, or has failed before its first token."""
    assert isinstance(error, TuluError)
    status = 503 if isinstance(error, EngineDied) else 400 if _is_theirs(error) else 500
    return json_response(error_object(error), status)


def _is_theirs(error: TuluError) -> bool:
    return error.exit_code in (2, 6, 65)


_LONGEST_BODY = 64 * 2**20


async def read_body(http: "HttpRequest") -> Mapping[str, Any]:
    """The JSON object of a request. Raises BadInput for anything else."""
    parts = bytearray()
    async for part in http.stream():
        parts += part
        if len(parts) > _LONGEST_BODY:
            raise BadInput(f"The body is longer than {_LONGEST_BODY:,} bytes.")
    try:
        body = json.loads(parts)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise BadInput("The body is not a JSON object.")
    return body
