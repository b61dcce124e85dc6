"""The middleware of vLLM's server, around an application that says what vLLM says."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.core import ThoughtFormat
from tulu_cli.prompt import Tokenizer
from tulu_cli.protocol.completions import ANSWER_PATH, PROMPT_PATH
from tulu_cli.serving.vllm_middleware import TuluRoutes

HEAD = {"type": "http.response.start", "status": 200, "headers": []}


def body_part(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sse(*documents: Any) -> bytes:
    """Server-sent events."""
    return b"".join(b"data: %s\n\n" % json.dumps(document).encode() for document in documents)


def chunk(*ids: int, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    """What vLLM says of some tokens; its own text is none of ours."""
    choice = {"index": index, "text": "NOT THIS", "token_ids": list(ids), "finish_reason": finish}
    return {"choices": [choice], "prompt_token_ids": None}


class Inner:
    """vLLM's application: notes what it is asked, and sends what it was given."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages
        self.path = ""
        self.body: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.path, data = scope["path"], b""
        while True:
            message = await receive()
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.body = json.loads(data or b"{}")
        for message in self.messages:
            await send(message)


@pytest.fixture
def tokenizer(demo_directory: Path) -> Tokenizer:
    return Tokenizer.load(demo_directory)


@pytest.fixture
def body(tokenizer: Tokenizer) -> dict[str, Any]:
    """What our client sends."""
    prompt = {"model": "demo", "prompt": [1, 2, 3], "stop_token_ids": [2], "temperature": 0.0}
    return {**prompt, "max_tokens": 99, "stream": True, "return_token_ids": True, "stop": []}


def ask(inner: Inner, body: Any, tokenizer: Tokenizer, path: str = ANSWER_PATH) -> tuple[int, Any]:
    """The status and the events, or the object, that a client is sent."""
    sent: list[dict[str, Any]] = []
    # A body in two parts, as long ones come.
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts = [
        {"type": "http.request", "body": data[:10], "more_body": True},
        {"type": "http.request", "body": data[10:], "more_body": False},
    ]

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: Any) -> None:
        assert not sent or sent[-1].get("more_body", True), "nothing may come after the end"
        sent.append(message)

    TuluRoutes.tokenizer = tokenizer
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(TuluRoutes(inner)(scope, receive, send))
    assert not sent[-1].get("more_body", False), "the end has to be said"
    text = b"".join(message.get("body", b"") for message in sent)
    if not text.startswith(b"data: "):
        return sent[0]["status"], json.loads(text)
    lines = [event.removeprefix(b"data: ") for event in text.split(b"\n\n") if event]
    assert lines[-1] == b"[DONE]"
    return sent[0]["status"], [json.loads(line) for line in lines[:-1]]


def choices(events: Iterable[Any], index: int = 0) -> list[dict[str, Any]]:
    found = [choice for event in events for choice in event.get("choices", [])]
    return [choice for choice in found if choice["index"] == index]


def text_of(events: Iterable[Any], index: int = 0) -> str:
    return "".join(choice["text"] for choice in choices(events, index))


def ids_of(events: Iterable[Any], index: int = 0) -> list[int]:
    return [token for choice in choices(events, index) for token in choice["token_ids"]]


def test_the_text_is_ours_and_the_ids_are_vllms(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    ids = tokenizer.encode_text("Blue 🧑‍🚀 sky, 你好")
    usage = {"choices": [], "usage": {"prompt_tokens": 3}}
    told = sse(*(chunk(token) for token in ids), chunk(2, finish="stop"), usage)
    told += b"data: [DONE]\n\n"
    # An event may come in pieces, and several at once.
    cut = [told[i : i + 37] for i in range(0, len(told), 37)]
    inner = Inner(HEAD, *map(body_part, cut), body_part(b"", more=False))
    status, events = ask(inner, body, tokenizer)
    assert status == 200
    assert text_of(events) == "Blue 🧑‍🚀 sky, 你好"
    assert ids_of(events) == [*ids, 2]
    assert choices(events)[-1]["finish_reason"] == "stop"
    assert choices(events)[-1]["stop_reason"] == 2
    assert events[-1] == usage
    assert inner.path == "/v1/completions"
    assert inner.body == body


def test_a_thought_is_told_from_the_answer_here(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    ids = tokenizer.encode_text("<think>\nHm.\n</think>\n\nBlue.")
    told = sse(*(chunk(token) for token in ids), chunk(2, finish="stop")) + b"data: [DONE]\n\n"
    inner = Inner(HEAD, body_part(told, more=False))
    thoughts = asdict(ThoughtFormat("<think>", "</think>"))
    _, events = ask(inner, {**body, "thoughts": thoughts}, tokenizer)
    assert ids_of(events) == [*ids, 2]
    channels: dict[str, str] = {"answer": "", "thought": ""}
    for choice in choices(events):
        channels[choice.get("channel", "answer")] += choice["text"]
    assert channels == {"answer": "Blue.", "thought": "Hm."}
    assert inner.body == body  # vLLM knows no such field


def test_a_stop_string_ends_the_answer_here(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    ids = tokenizer.encode_text("one two three four five")
    told = sse(*(chunk(token) for token in ids), chunk(2, finish="stop"))
    inner = Inner(HEAD, body_part(told), body_part(b"data: [DONE]\n\n"), body_part(b"", more=False))
    _, events = ask(inner, body | {"stop": ["ree f"]}, tokenizer)
    assert inner.body["stop"] == [], "vLLM would end it elsewhere"
    assert text_of(events) == "one two th"
    assert choices(events)[-1]["stop_reason"] == "ree f"
    assert len(ids_of(events)) < len(ids)


def test_each_choice_has_its_own_end(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    one, two = tokenizer.encode_text("one"), tokenizer.encode_text("stop it")
    told = sse(*(chunk(token, index=1) for token in two), chunk(*one), chunk(finish="length"))
    inner = Inner(HEAD, body_part(told + b"data: [DONE]\n\n"), body_part(b"", more=False))
    asked = body | {"n": 2, "temperature": 1.0, "stop": [" it"]}
    _, events = ask(inner, asked, tokenizer)
    assert (text_of(events, 0), text_of(events, 1)) == ("one", "stop")
    assert [choices(events, index)[-1]["finish_reason"] for index in (0, 1)] == ["length", "stop"]


def test_an_error_in_the_middle_is_passed_on(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    error = {"error": {"message": "EngineCore encountered an issue", "code": 500}}
    told = sse(chunk(*tokenizer.encode_text("one")), error) + b"data: [DONE]\n\n"
    _, events = ask(Inner(HEAD, body_part(told, more=False)), body, tokenizer)
    assert events[-1] == error
    assert text_of(events) == "one"


def test_a_stream_that_breaks_off_has_an_end(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    told = sse(chunk(*tokenizer.encode_text("one")))
    with pytest.raises(AssertionError):  # no [DONE]: our client calls that a death
        ask(Inner(HEAD, body_part(told), body_part(b"", more=False)), body, tokenizer)


def test_a_refusal_of_vllm_is_passed_on(tokenizer: Tokenizer, body: dict[str, Any]) -> None:
    told = {"error": {"message": "no such token", "type": "BadRequestError", "code": 400}}
    head = {**HEAD, "status": 400}
    inner = Inner(head, body_part(json.dumps(told).encode(), more=False))
    assert ask(inner, body, tokenizer) == (400, told)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "text"}, "needs a prompt of token ids"),
        ({"stream": False}, "with stream"),
        ({"return_token_ids": False}, "return_token_ids set to true"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stop_token_ids": 2}, "stop_token_ids"),
    ],
)
def test_what_is_no_request_never_reaches_vllm(
    tokenizer: Tokenizer, body: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    inner = Inner()
    status, told = ask(inner, body | changes, tokenizer)
    assert (status, told["error"]["class"]) == (400, "BadInput")
    assert said in told["error"]["message"]
    assert inner.path == ""


def test_a_body_that_is_no_json_is_refused(tokenizer: Tokenizer) -> None:
    status, told = ask(Inner(), b"{" * 20, tokenizer)
    assert (status, told["error"]["class"]) == (400, "BadInput")


def test_prompts_are_made_without_vllm(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Inner()
    _, told = ask(inner, {"text": "one two"}, tokenizer, PROMPT_PATH)
    assert told == {"prompt_token_ids": list(tokenizer.encode_raw("one two"))}
    status, told = ask(inner, {"text": "\ud800"}, tokenizer, PROMPT_PATH)
    assert (status, told["error"]["class"]) == (400, "BadInput")
    monkeypatch.setattr(TuluRoutes, "max_model_len", 100)
    status, told = ask(inner, {"text": "word " * 10_000}, tokenizer, PROMPT_PATH)
    assert (status, told["error"]["class"]) == (400, "PromptTooLong")
    assert inner.path == ""


def test_all_else_is_vllms_own(tokenizer: Tokenizer) -> None:
    told = {"object": "list"}
    inner = Inner(HEAD, body_part(json.dumps(told).encode(), more=False))
    assert ask(inner, {"as": "it is"}, tokenizer, "/v1/models") == (200, told)
    assert (inner.path, inner.body) == ("/v1/models", {"as": "it is"})
