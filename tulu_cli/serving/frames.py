"""What the warm server sends: OpenAI's objects, whole or as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Completion, Done, Text, Usage
from tulu_cli.errors import BadInput, EngineDied, TuluError
from tulu_cli.protocol.completions import Envelope, piece_fields, usage_object
from tulu_cli.protocol.errors import error_object

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response
    from starlette.types import Message as AsgiMessage
    from starlette.types import Receive, Scope, Send


class AnswerWriter:
    """Makes the objects of an answer; `with_ids` adds the token ids of the text."""

    def __init__(self, envelope: Envelope, *, with_ids: bool) -> None:
        self._envelope = envelope
        self._with_ids = with_ids

    def chunk(self, event: Text | Done) -> dict[str, Any]:
        """Return an event as a chunk."""
        return self._envelope.chunk([self._choice(event, streamed=True)])

    def usage(self, ends: Sequence[Done]) -> dict[str, Any]:
        """Return the chunk that counts the tokens of all choices."""
        return self._envelope.chunk([], usage=_usage(ends))

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """Return the finished answer."""
        choices = [
            self._choice(Text(one.text, one.token_ids, one.done.index, one.logprobs), one.done)
            for one in completions
        ]
        return self._envelope.whole(choices, _usage([one.done for one in completions]))

    def _choice(
        self, event: Text | Done, end: Done | None = None, *, streamed: bool = False
    ) -> dict[str, Any]:
        piece = event if isinstance(event, Text) else Text("", index=event.index)
        end = event if isinstance(event, Done) else end
        choice = self._envelope.choice(event.index, piece.text, streamed=streamed)
        return choice | piece_fields(piece, with_ids=self._with_ids, end=end)


def _usage(ends: Sequence[Done]) -> dict[str, Any]:
    usage = Usage.total(end.usage for end in ends)
    assert usage is not None, "an engine of ours counts its tokens"
    return usage_object(usage)


class EventStream:
    """An answer as server-sent events; its first event decides between an error and 200."""

    def __init__(
        self, answer: AnswerWriter, events: AsyncIterator[Text | Done], *, usage: bool
    ) -> None:
        self._answer = answer
        self._events = events
        self._usage = usage

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send the answer. An error before the first event has its own status."""
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
            await send(line(self._answer.usage(ends)))
        await send({"type": "http.response.body", "body": LAST_LINE, "more_body": True})

    async def _send_event(self, event: Text | Done, ends: list[Done], send: "Send") -> None:
        if isinstance(event, Done):
            ends.append(event)
        elif not (event.text or event.token_ids):
            return
        await send(line(self._answer.chunk(event)))


LAST_LINE = b"data: [DONE]\n\n"
_STREAM_HEAD: "AsgiMessage" = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


def line(document: Mapping[str, Any]) -> "AsgiMessage":
    """Return a document as one event of a stream."""
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return {
        "type": "http.response.body",
        "body": b"data: " + data.encode("utf-8", "replace") + b"\n\n",
        "more_body": True,
    }


def json_response(document: Mapping[str, Any], status: int = 200) -> "Response":
    """Return a response whose whole body is a document."""
    from starlette.responses import Response

    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return Response(data, status, media_type="application/json")


async def refusal(_http: Any, error: Exception) -> "Response":
    """Return the response to a request that failed before its first token."""
    assert isinstance(error, TuluError)
    status = 503 if isinstance(error, EngineDied) else 400 if _is_theirs(error) else 500
    return json_response(error_object(error), status)


def _is_theirs(error: TuluError) -> bool:
    return error.exit_code in (2, 6, 65)


_LONGEST_BODY = 64 * 2**20
_BODY_SECONDS = 60.0  # for all of it; a client of ours sends it at once


async def read_body(http: "HttpRequest") -> Mapping[str, Any]:
    """Return the JSON object of a request. Raise BadInput for anything else."""
    from starlette.requests import ClientDisconnect

    parts = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in http.stream():
                parts += part
                if len(parts) > _LONGEST_BODY:
                    raise BadInput(f"The body is longer than {_LONGEST_BODY:,} bytes.")
    except ClientDisconnect as error:  # nobody reads the answer
        raise BadInput("The client hung up before the end of the body.") from error
    except TimeoutError as error:
        raise BadInput(f"The body did not come within {_BODY_SECONDS:.0f} seconds.") from error
    try:
        body = json.loads(parts)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise BadInput("The body is not a JSON object.")
    return body
