"""What our server sends: OpenAI's objects, whole or as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Completion, Done, Text, TokenLogprob, Usage
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.protocol.completions import Envelope, end_fields, ids_fields, usage_object
from tulu_cli.protocol.errors import error_object, status_of
from tulu_cli.protocol.logprobs import Spelling, chat_logprobs, text_logprobs

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response
    from starlette.types import Message as AsgiMessage
    from starlette.types import Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt with which its answers begin.

    Where logprobs were asked for, they are those of its tokens but the `first` one, before which
    nothing stands.
    """

    text: str
    first: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class AnswerWriter:
    """Makes the objects of an answer.

    Each prompt has `n` choices, counted on from one prompt to the next. `spell` is what is told of
    a token beside its logprob; `with_ids` adds the token ids of the text.
    """

    def __init__(
        self,
        envelope: Envelope,
        spell: Spelling,
        *,
        n: int,
        echoes: Sequence[Echo] = (),
        with_ids: bool = False,
    ) -> None:
        self._envelope = envelope
        self._spell = spell
        self._n = n
        self._echoes = echoes
        self._with_ids = with_ids
        self._characters: dict[int, int] = {}  # of each choice that has begun

    def chunk(self, event: Text | Done) -> dict[str, Any]:
        """Return an event as a chunk."""
        piece = event if isinstance(event, Text) else Text("", index=event.index)
        first = piece.index not in self._characters
        choice = self._envelope.piece(piece, first=first)
        begin = self._echo(piece.index) if first else None
        fields = self._fields(choice, piece, begin, event if isinstance(event, Done) else None)
        return self._envelope.chunk([fields])

    def usage(self, ends: Sequence[Done]) -> dict[str, Any]:
        """Return the chunk that counts the tokens of all choices."""
        return self._envelope.chunk([], usage=self._usage(ends))

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """Return the finished answer."""
        choices = []
        for one in completions:
            index = one.done.index
            choice = self._envelope.choice(index, one.text, one.reasoning)
            piece = Text(one.text, one.token_ids, index, one.logprobs)
            choices.append(self._fields(choice, piece, self._echo(index), one.done))
        return self._envelope.whole(choices, self._usage([one.done for one in completions]))

    def _fields(
        self, choice: dict[str, Any], piece: Text, begin: Echo | None, end: Done | None
    ) -> dict[str, Any]:
        """Return a choice with what stands before its text and beside it."""
        if begin is not None:
            choice["text"] = begin.text + choice["text"]
        told = choice | {"logprobs": self._logprobs(piece, begin)} | end_fields(end)
        return told | ids_fields(piece) if self._with_ids else told

    def _logprobs(self, piece: Text, begin: Echo | None) -> dict[str, Any] | None:
        entries, first, offset = piece.logprobs, None, self._characters.get(piece.index, 0)
        if begin is not None:
            entries, first = (*begin.logprobs, *entries), begin.first
        self._characters[piece.index] = offset + len(piece.text) + len(begin.text if begin else "")
        if not entries and first is None:
            return None
        if self._envelope.chat:
            return chat_logprobs(entries, self._spell)
        return text_logprobs(entries, self._spell, first=first, offset=offset)

    def _echo(self, index: int) -> Echo | None:
        return self._echoes[index // self._n] if self._echoes else None

    def _usage(self, ends: Sequence[Done]) -> dict[str, Any]:
        """Return the counts: each prompt once, and all choices."""
        prompts: dict[int, list[Usage | None]] = {}
        for end in ends:
            prompts.setdefault(end.index // self._n, []).append(end.usage)
        counted = [usage for usages in prompts.values() if (usage := Usage.total(usages))]
        return usage_object(
            Usage(
                sum(usage.prompt_tokens for usage in counted),
                sum(usage.completion_tokens for usage in counted),
                sum(usage.cached_tokens for usage in counted),
                sum(usage.reasoning_tokens for usage in counted),
            )
        )


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
    return json_response(error_object(error), status_of(error))


LONGEST_BODY = 64 * 2**20  # bytes
_BODY_SECONDS = 60.0  # for all of it; a client of ours sends it at once


async def read_body(http: "HttpRequest") -> Mapping[str, Any]:
    """Return the JSON object of a request. Raise BadInput for anything else."""
    from starlette.requests import ClientDisconnect

    parts = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in http.stream():
                parts += part
                if len(parts) > LONGEST_BODY:
                    raise BadInput(f"The body is longer than {LONGEST_BODY:,} bytes.")
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
