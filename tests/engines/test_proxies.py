"""The proxy on the way to a server: which one, and what it is told."""

import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.program import DEADLINE_SECONDS
from tulu_cli.core import EngineInfo
from tulu_cli.engines.remote.wire import Wire
from tulu_cli.errors import EngineDied, UsageError
from tulu_cli.warm.endpoint import Endpoint

INFO = EngineInfo("server", "m", None, "", "auto", 0, {})
VARIABLES = [
    name for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")
    for name in (upper, upper.lower())
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "http://gpu01:8000", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://gpu01:8000", "proxy:3128"),
        ({"http_proxy": "proxy:3128"}, "http://gpu01:8000", "proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://gpu01", None),
        ({"HTTPS_PROXY": "http://proxy"}, "https://gpu01", "proxy:80"),
        ({"ALL_PROXY": "http://all:1"}, "https://gpu01", "all:1"),
        ({"ALL_PROXY": "http://all:1", "http_proxy": "http://a:2"}, "http://gpu01", "a:2"),
        ({"http_proxy": "", "HTTP_PROXY": "http://a:2"}, "http://gpu01", None),
        ({"HTTP_PROXY": "http://a:2", "NO_PROXY": "gpu01"}, "http://gpu01:8000", None),
        ({"HTTP_PROXY": "http://a:2", "NO_PROXY": ".org, gpu01:8000"}, "http://gpu01:8000", None),
        ({"HTTP_PROXY": "http://a:2", "NO_PROXY": "gpu01:9"}, "http://gpu01:8000", "a:2"),
        ({"HTTP_PROXY": "http://a:2", "NO_PROXY": ".org"}, "http://x.example.org", None),
        ({"HTTP_PROXY": "http://a:2", "NO_PROXY": "*"}, "http://gpu01", None),
        ({"HTTP_PROXY": "http://a:2"}, "http://localhost:11434", None),
        ({"HTTP_PROXY": "http://a:2"}, "http://a.localhost:11434", None),
        ({"ALL_PROXY": "http://a:2"}, "http://127.9.9.9:11434", None),
        ({"ALL_PROXY": "http://a:2"}, "http://[::1]:11434", None),
    ],
)
def test_the_environment_says_which(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    went: list[tuple[str, int]] = []

    def unreachable(place: tuple[str, int], *_: Any, **_options: Any) -> None:
        went.append(place)
        raise OSError("unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(EngineDied, match="unreachable") as caught:
        wire(url).get("/v1/models")
    ((host, port),) = went
    if expected is None:
        assert urlsplit(url).hostname == host
        assert "proxy" not in str(caught.value)
    else:
        assert f"{host}:{port}" == expected
        assert f"does not answer through the proxy {expected}: " in str(caught.value)


@pytest.mark.parametrize("told", ["gopher://a:b@proxy", "http://a:b@x:y"])
def test_one_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("ALL_PROXY", told)
    with pytest.raises(UsageError, match="must have the form http://HOST:PORT") as caught:
        wire("http://gpu01:8000").get("/v1/models")
    assert "a:b" not in str(caught.value)


def test_a_proxy_that_speaks_socks_may_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    with pytest.raises(UsageError, match=r"pip install 'httpx\[socks\]'"):
        wire("http://gpu01:8000").get("/v1/models")


class Listener:
    """A proxy of the test's own: it notes what it is sent, and says what it was given to say."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.heads: list[bytes] = []
        self.then = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    received = connection.recv(4096)
                    assert received, "it hung up before its head was whole"
                    head += received
                self.heads.append(head)
                connection.sendall(self.replies.pop(0))
                if head.startswith(b"CONNECT"):
                    self.then = connection.recv(4096)

    def close(self) -> None:
        # To close it alone would leave the thread in its call.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(DEADLINE_SECONDS)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 0.0)
    listener = Listener()
    monkeypatch.setenv("ALL_PROXY", f"http://ann:p%40ss@{listener.place}")
    yield listener
    listener.close()


def reply(status: str, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def wire(url: str) -> Wire:
    return Wire(Endpoint(INFO, url=url, api_key="key"), {})


def test_a_request_goes_through_it_with_the_whole_url(proxy: Listener) -> None:
    proxy.replies = [reply("200 OK", b'{"data": []}')]
    assert wire("http://gpu01.invalid:8000/api/v1").get("/v1/models") == {"data": []}
    lines = proxy.heads[0].decode().split("\r\n")
    assert lines[0] == "GET http://gpu01.invalid:8000/api/v1/models HTTP/1.1"
    assert "Host: gpu01.invalid:8000" in lines
    assert "Authorization: Bearer key" in lines
    assert "Proxy-Authorization: Basic YW5uOnBAc3M=" in lines


def test_what_is_encrypted_stays_so(proxy: Listener) -> None:
    proxy.replies = [b"HTTP/1.1 200 Connection established\r\n\r\n"]
    with pytest.raises(EngineDied):
        wire("https://gpu01.invalid/v1").get("/v1/models")
    lines = proxy.heads[0].decode().split("\r\n")
    assert lines[0].startswith("CONNECT gpu01.invalid:443 HTTP/1.")
    assert "Proxy-Authorization: Basic YW5uOnBAc3M=" in lines
    assert not any("Bearer" in line for line in lines)
    assert proxy.then[0] == 0x16, "a handshake of TLS"
    assert b"gpu01.invalid" in proxy.then
    assert b"Bearer" not in proxy.then


def test_one_that_lets_nobody_through_is_named(proxy: Listener) -> None:
    proxy.replies = [reply("403 Forbidden")]
    with pytest.raises(EngineDied) as caught:
        wire("https://gpu01.invalid").get("/v1/models")
    assert str(caught.value) == (
        f"The server at https://gpu01.invalid does not answer through the proxy {proxy.place}: "
        "403 Forbidden. NO_PROXY=gpu01.invalid goes around it."
    )


def test_one_that_wants_a_name_is_told_apart_from_a_server(proxy: Listener) -> None:
    for scheme in ("http", "https"):
        proxy.replies = [reply("407 Proxy Authentication Required")]
        with pytest.raises(
            UsageError, match=r"requires a name .*http://NAME:PASSWORD@HOST"
        ) as caught:
            wire(f"{scheme}://gpu01.invalid").get("/v1/models")
        assert proxy.place in str(caught.value)
        assert "p@ss" not in str(caught.value)


def test_one_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(EngineDied, match=r"through the proxy 127\.0\.0\.1:9: Connection"):
        wire("http://gpu01.invalid").get("/v1/models")
