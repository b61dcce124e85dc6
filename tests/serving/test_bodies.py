"""Bodies of requests to our server: fields of the wrong type, and bodies that do not come."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request as HttpRequest
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from tests.program import DEADLINE_SECONDS
from tests.warming import spec_of
from tulu_cli.engines.choose import EngineChoice, load
from tulu_cli.errors import BadInput
from tulu_cli.serving import host
from tulu_cli.serving.app import make_app
from tulu_cli.serving.engine_thread import EngineThread
from tulu_cli.serving.frames import read_body
from tulu_cli.serving.vllm_middleware import TuluRoutes

COMPLETIONS, CHAT, ANSWER, PROMPT = (
    "/v1/completions",
    "/v1/chat/completions",
    "/tulu/completions",
    "/tulu/prompt",
)


@pytest.fixture(scope="module")
def app(demo_directory: Path) -> Any:
    """The application over a fake engine."""
    spec = spec_of(demo_directory)
    thread = EngineThread(lambda: load(EngineChoice("fake", ()), spec))
    return make_app(thread, thread.start(), spec.tokenizer, (2,))


@pytest.fixture
def client(app: Any) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


VALUES: list[Any] = [-1, 0.5, True, "x", ["x"], [0.5], {"a": 1}, [None], []]
SWITCHES = dict.fromkeys(
    ("stream", "return_token_ids", "return_tokens_as_token_ids", "ignore_eos"), (True,)
)
NUMBERS: dict[str, tuple[Any, ...]] = {
    "n": (),
    "max_tokens": (),
    "max_completion_tokens": (),
    "temperature": (0.5,),
    "top_p": (0.5,),
    "top_k": (-1,),
    "min_p": (0.5,),
    "repetition_penalty": (0.5,),
    "frequency_penalty": (-1, 0.5),
    "presence_penalty": (-1, 0.5),
    "seed": (),
}
# Each field with those of VALUES that it takes.
FIELDS = {
    **SWITCHES,
    **NUMBERS,
    "model": (),
    "stream_options": ({"a": 1},),
    "stop": ("x", ["x"], []),
    "stop_token_ids": ([],),
    "response_format": (),
    "structured_outputs": ({"a": 1},),
    **dict.fromkeys(("min_tokens", "best_of", "suffix", "logit_bias", "tool_choice"), ()),
    "tools": ([],),
    "bad_words": ([],),
}
ASKED = {"max_tokens": 1}
BASES: dict[str, dict[str, Any]] = {
    COMPLETIONS: ASKED | {"prompt": [5]},
    ANSWER: ASKED | {"prompt": [5]},
    CHAT: ASKED | {"messages": [{"role": "user", "content": "Hi"}]},
}


def said(client: TestClient, path: str, body: Any, refused: int = 400) -> str | None:
    """What is wrong with a body, None for one that is answered."""
    told = client.post(path, json=body)
    assert told.status_code in (200, refused), (path, body, told.text)
    return None if told.status_code == 200 else str(told.json()["error"]["message"])


def is_in(value: Any, values: tuple[Any, ...]) -> bool:
    return any(type(one) is type(value) and one == value for one in values)


def check_field(client: TestClient, path: str, body: Any, name: str, fits: tuple[Any, ...]) -> None:
    """Give a field, such as stream_options.include_usage, each of VALUES."""
    outer, _, inner = name.partition(".")
    for value in VALUES:
        changed = {**body, outer: {inner: value} if inner else value}
        problem = said(client, path, changed, 404 if outer == "model" else 400)
        if is_in(value, fits):
            assert problem is None, (name, value, problem)
        else:
            assert problem is not None, (name, value)
            assert outer in problem


@pytest.mark.parametrize("path", BASES)
def test_a_field_of_the_wrong_type_is_named(client: TestClient, path: str) -> None:
    body = BASES[path]
    fields: dict[str, tuple[Any, ...]] = {
        **FIELDS,
        "stream_options.include_usage": (True,),
        "structured_outputs.json": ("x", {"a": 1}),
        "structured_outputs.regex": ("x",),
        "structured_outputs.choice": (["x"],),
        "response_format.type": (),
        "response_format.json_schema": (),
    }
    if path == CHAT:
        fields |= dict.fromkeys(("top_logprobs", "messages", "echo"), ())
        fields |= {"logprobs": (True,), "continue_final_message": ()}
        # The template says "a helpful AI assistant", and so may read it.
        fields["chat_template_kwargs"] = ({"a": 1},)
    else:
        fields |= {"logprobs": (), "prompt": ("x", ["x"]), "prompt_logprobs": (), "echo": (True,)}
    for name, fits in fields.items():
        check_field(client, path, body, name, fits)
        outer = name.partition(".")[0]
        if outer not in ("prompt", "messages"):
            assert said(client, path, {**body, outer: None}) is None


def test_a_score_has_its_own_fields(client: TestClient) -> None:
    body = {"prompt": [5, 6, 7], "prompt_logprobs": 1}
    for name in ("context_tokens", "n", "max_tokens", "stream", "echo", "logprobs"):
        check_field(client, COMPLETIONS, body, name, ())
    assert said(client, COMPLETIONS, body) is None


def test_a_chat_may_say_that_it_wants_no_logprobs(client: TestClient) -> None:
    for more in ({"logprobs": False}, {"logprobs": None, "top_logprobs": 0}):
        assert said(client, CHAT, BASES[CHAT] | more) is None


def test_a_prompt_of_the_wrong_type_is_named(client: TestClient) -> None:
    message = {"role": "user", "content": "Hi", "extra": {}}
    for name, fits in (("role", ("x",)), ("content", ("x",)), ("extra", ({"a": 1},)), ("id", ())):
        for value in VALUES:
            problem = said(client, PROMPT, {"conversation": [{**message, name: value}]})
            assert (problem is None) == is_in(value, fits), (name, value)
            assert problem is None or f"conversation[0].{name}" in problem
    body = {"conversation": [message]}
    for name in ("continue_final", "allow_special", "strict_roles"):
        check_field(client, PROMPT, body, name, (True,))
    check_field(client, PROMPT, body, "text", ("x",))
    conversations: list[Any] = [7, "x", {}, [7], [None], None]
    for conversation in conversations:
        problem = said(client, PROMPT, {"conversation": conversation})
        assert problem is not None
        assert "conversation" in problem


def scope(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT, ANSWER, PROMPT])
def test_a_client_that_hangs_up_in_its_body_is_no_defect(app: Any, path: str) -> None:
    async def ask(served: Any) -> None:
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            assert message.get("status", 400) == 400

        await served(scope(path), receive, send)

    asyncio.run(ask(app))
    if path in (ANSWER, PROMPT):
        asyncio.run(ask(TuluRoutes(app)))


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.serving.frames._BODY_SECONDS", 0.05)

    async def ask() -> None:
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return parts.pop() if parts else await asyncio.sleep(DEADLINE_SECONDS)

        with pytest.raises(BadInput, match="The body did not come within"):
            await read_body(HttpRequest(scope(COMPLETIONS), receive))

    asyncio.run(ask())


SLOW_SECONDS = 0.3


async def slow(_scope: Any, _receive: Any, send: Any) -> None:
    """An answer that takes longer than a head may."""
    await asyncio.sleep(SLOW_SECONDS)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"Hi"})


@pytest.mark.parametrize(
    ("sent", "later", "answers"),
    [
        (b"", b"", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"", 0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", 1),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /", 1),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 2),
    ],
)
def test_a_connection_that_says_nothing_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: bytes, later: bytes, answers: int
) -> None:
    monkeypatch.setattr("tulu_cli.serving.host._HEAD_SECONDS", SLOW_SECONDS / 3)
    config = uvicorn.Config(slow, http=host.impatient_protocol(), timeout_keep_alive=1)
    config.load()
    state = ServerState()

    def protocol() -> Any:
        made: Any = config.http_protocol_class
        return made(config=config, server_state=state, app_state={})

    async def talk() -> bytes:
        socket = tmp_path / "socket"
        server = await asyncio.get_running_loop().create_unix_server(protocol, socket)
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(sent)
        told = await reader.readuntil(b"Hi") if answers else b""
        writer.write(later)
        told += await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
        writer.close()
        server.close()
        return told

    assert asyncio.run(talk()).count(b"200 OK") == answers
