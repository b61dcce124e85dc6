"""A server of somebody else's for tests: it speaks OpenAI's chat completions over real HTTP."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("The", " sky", " is", " blue", ".")
# All that OpenAI knows of what we might send; a strict server refuses the rest.
_KNOWN = {
    "model", "messages", "temperature", "top_p", "stream", "stream_options", "max_tokens", "seed",
    "n", "stop", "logprobs", "top_logprobs", "response_format",
}  # fmt: skip


@dataclass
class Reply:
    """One answer over HTTP, its body in these pieces, after which the connection is closed."""

    status: int = 200
    pieces: Iterable[bytes] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """A request as it came."""

    path: str
    key: str | None
    body: dict[str, Any]


Respond = Callable[[dict[str, Any]], Reply]


class ForeignServer:
    """Answers the next of `replies`, then as `respond` has it.

    `seen` is what was asked; `left` is set when a client has hung up in the middle of an answer.
    """

    def __init__(self, respond: Respond, models: tuple[str, ...]) -> None:
        self.respond = respond
        self.models: Any = {"data": [{"id": name, "owned_by": "library"} for name in models]}
        self.replies: list[Reply] = []
        self.seen: list[Seen] = []
        self.left = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._give(json_reply(outer.models))

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(data)
                outer.seen.append(Seen(self.path, self.headers.get("Authorization"), body))
                self._give(outer.replies.pop(0) if outer.replies else outer.respond(body))

            def _give(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in ({"Connection": "close"} | dict(reply.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for piece in reply.pieces:
                        self.wfile.write(piece)
                except ConnectionError:
                    outer.left.set()

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def serving(respond: Respond, models: tuple[str, ...] = ("blue-1",)) -> Iterator[ForeignServer]:
    """A server that runs meanwhile."""
    server = ForeignServer(respond, models)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def strict(body: dict[str, Any]) -> Reply:
    """As OpenAI answers, which refuses what it does not know and does all that it does."""
    if unknown := body.keys() - _KNOWN:
        return refuse(400, f"Unrecognized request argument supplied: {', '.join(unknown)}")
    return answer(body, n=body.get("n", 1), top=body.get("top_logprobs"), stop=body.get("stop"))


def careless(body: dict[str, Any]) -> Reply:
    """As small servers answer: one choice, no log-probabilities, whatever was asked; no usage."""
    return stream(*(text_chunk(0, word) for word in WORDS), end_chunk(0, "stop"))


def answer(
    body: dict[str, Any], *, n: int = 1, top: int | None = None, stop: list[str] | None = None
) -> Reply:
    """WORDS, in pieces, within the limits that the body sets, and the usage."""
    limit = body.get("max_tokens") or len(WORDS)
    words = WORDS[:limit]
    for text in stop or ():
        words = tuple(word for word in words[: cut_at(words, text)])
    finish = "length" if len(words) == limit < len(WORDS) else "stop"
    chunks: list[Any] = []
    for index in range(n):
        chunks.append({"choices": [{"index": index, "delta": {"role": "assistant"}}]})
        chunks += [text_chunk(index, word, top) for word in words]
        chunks.append(end_chunk(index, finish))
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": len(words) * n,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    return stream(*chunks, {"choices": [], "usage": usage})


def cut_at(words: tuple[str, ...], text: str) -> int:
    return next((place for place, word in enumerate(words) if text in word), len(words))


def text_chunk(index: int, text: str, top: int | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "delta": {"content": text}, "finish_reason": None}
    if top is not None:
        others = [{"token": text, "logprob": -0.5}, {"token": "?", "logprob": -9999.0}]
        entry = {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": others[:top]}
        choice["logprobs"] = {"content": [entry]}
    return {"choices": [choice], "usage": None}


def end_chunk(index: int, finish: str) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": finish}]}


def stream(*chunks: Any) -> Reply:
    """The chunks as events, with the word that they have ended."""
    return Reply(200, (*map(event, chunks), b"data: [DONE]\n\n"), EVENT_STREAM)


EVENT_STREAM = {"Content-Type": "text/event-stream"}


def event(chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, (json.dumps(value).encode(),), {"Content-Type": "application/json"})


def refuse(status: int, message: str, **more: Any) -> Reply:
    """A refusal in OpenAI's shape."""
    return json_reply({"error": {"message": message, "type": "invalid", **more}}, status)
