"""Who may ask a server on a port, and how much."""

import asyncio
import json
from typing import Any

import pytest

from tulu_cli.serving import guard


def reached(key: str | None, body: bytes = b"", **scope: Any) -> tuple[bool, list[Any]]:
    """Whether a request came through, with all of its body, and what was sent back."""
    seen: list[Any] = []
    sent: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] == "http.request":
            seen.append(True)
        else:
            await send({"type": "http.response.start", "status": 400, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {"type": "http", "path": "/v1/models", "headers": [], **scope}
    asyncio.run(guard.Guard(app, key)(whole, receive, send))
    return bool(seen), sent


@pytest.mark.parametrize(
    "scope",
    [
        {"headers": [(b"authorization", b"Bearer secret")]},
        {"path": "/tokenize", "headers": [(b"x", b"y"), (b"authorization", b"Bearer secret")]},
        {"path": "/health"},
        {"type": "lifespan"},
    ],
    ids=str,
)
def test_who_has_the_key_comes_in(scope: dict[str, Any]) -> None:
    assert reached("secret", **scope) == (True, [])


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"path": "/metrics"},
        {"path": "/health/../v1/models"},
        {"headers": [(b"authorization", b"Bearer secret2")]},
        {"headers": [(b"authorization", b"secret")]},
        {"headers": [(b"authorization", b"")]},
        {"headers": [(b"authorization", "Bearer schlüssel".encode())]},
        {"headers": [(b"authorization", b"x"), (b"authorization", b"Bearer secret")]},
    ],
    ids=str,
)
def test_who_has_not_stays_out(scope: dict[str, Any]) -> None:
    passed, sent = reached("secret", **scope)
    assert not passed
    assert sent[0]["status"] == 401
    assert json.loads(sent[1]["body"])["error"]["code"] == "invalid_api_key"
    passed, sent = reached("secret", **scope, type="websocket")
    assert (passed, sent) == (False, [{"type": "websocket.close", "code": 1008}])


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "localhost"}, True),
        ({"host": "[::1]:8000", "origin": "http://localhost:3000"}, True),
        # A name that a page has made lead to this machine, and a page that asks by its address.
        ({"host": "evil.example:8000"}, False),
        ({"host": "127.0.0.1", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1", "origin": "null"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": "user@evil.example:8000"}, False),
        ({"host": "[::1"}, False),
        ({"host": "lo\xffcalhost"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_without_a_key_no_page_of_the_web_comes_in(headers: dict[str, str], passes: bool) -> None:
    told = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    passed, sent = reached(None, headers=told)
    assert passed is passes
    assert passes or sent[0]["status"] == 403


def test_a_body_that_is_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LONGEST_BODY", 8)
    headers = [(b"authorization", b"Bearer secret")]
    assert reached("secret", b"12345678", headers=headers)[0]
    passed, sent = reached("secret", b"123456789", headers=headers)
    assert (passed, [one.get("status") for one in sent]) == (False, [413, None])
