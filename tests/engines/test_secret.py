"""A server that repeats the key that it was sent: nothing shows it."""

import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.foreign_server import (
    EVENT_STREAM,
    ForeignServer,
    Reply,
    event,
    json_reply,
    refuse,
    serving,
    stream,
    strict,
    text_chunk,
)
from tulu_cli.core import Message, Request, Sampling
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import ServedModel
from tulu_cli.engines.remote.chat import ChatCompletionsEngine
from tulu_cli.engines.remote.wire import Secret
from tulu_cli.errors import TuluError
from tulu_cli.warm.endpoint import ChatServer

KEY = "sk/KEY+123:abc=="


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForeignServer]:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 0.0)
    with serving(strict) as running:
        yield running


def asked(server: ForeignServer) -> str:
    """All that a refusal shows, with --debug too."""
    model = ServedModel("blue-1", ChatServer(url=server.url, api_key=KEY))
    try:
        collect(ChatCompletionsEngine(model).stream(Request((Message("user", "Hi"),), Sampling())))
    except TuluError as error:
        return "".join(traceback.format_exception(error))
    return pytest.fail("it has answered")


def slashed(text: str) -> bytes:
    """JSON as PHP writes it."""
    return b'{"error": {"message": "Bad %s"}}' % text.replace("/", "\\/").encode()


REPLIES = [
    refuse(401, f"Bad Authorization: Bearer {KEY}"),
    refuse(400, f"Bad key '{KEY}'."),
    refuse(404, f"No {KEY} here"),
    refuse(500, f"No {KEY} here"),
    json_reply({"detail": [{"loc": ["header", KEY], "msg": f"not {KEY}"}]}, 422),
    json_reply({"error": {"message": f"Bad {quote(KEY, safe='')}"}}, 400),
    Reply(400, (slashed(KEY),)),
    Reply(400, (f"Bad {KEY}".encode(),)),
    Reply(400, (b"x" * 195 + KEY.encode(),)),
    refuse(400, "x" * 495 + KEY),
    Reply(302, (), {"Location": f"/v1?key={KEY}"}),
    Reply(302, (), {"Location": f"http://a/v1?key={quote(KEY)}"}),
    stream({"error": {"message": f"Bad {KEY}"}}),
    stream(text_chunk(0, "The"), {"error": {"message": f"Bad {KEY}"}}),
    Reply(200, (f"error: Bad {KEY}\n\n".encode(),), EVENT_STREAM),
    Reply(200, (f"data: {KEY}\n\n".encode(),), EVENT_STREAM),
    Reply(200, (b"data: " + b"x" * 55 + KEY.encode() + b"\n\n",), EVENT_STREAM),
    Reply(200, (event([KEY]),), EVENT_STREAM),
    Reply(200, (KEY.encode(),), {"Content-Type": "application/json"}),
]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: str(reply)[:70])
def test_a_key_that_a_server_repeats_is_not_shown(server: ForeignServer, reply: Reply) -> None:
    server.replies = [reply] * 5
    told = asked(server)
    assert server.seen[0].key == f"Bearer {KEY}"
    for part in (KEY, quote(KEY), quote(KEY, safe=""), "sk/K", "sk%2FK"):
        assert part not in told


@pytest.mark.parametrize(
    ("key", "told", "shown"),
    [
        ("secret-key", {"a": ["xsecret-keyx", 3, None]}, {"a": ["x***x", 3, None]}),
        ("x", "x is an extra field", "*** is an extra field"),
        (None, "nothing", "nothing"),
        ("", "nothing", "nothing"),
    ],
)
def test_a_secret_is_hidden_in_any_value(key: str | None, told: Any, shown: Any) -> None:
    assert Secret(key).hidden(told) == shown
