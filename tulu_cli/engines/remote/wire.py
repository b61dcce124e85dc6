"""HTTP to a server that streams JSON: over a Unix socket, or over TCP to a URL.

The standard library's client: its connections can be hung up from another thread, and it is loaded
in a fifth of the time that httpx takes, which a warm engine's first token would feel. On the way to
a URL there may be a proxy (`proxies.py`), to a socket never.

The proxy on the way to a server at a URL, by the variables that curl reads too.

HTTPS_PROXY or HTTP_PROXY by the scheme of the URL, else ALL_PROXY; NO_PROXY says where none is
used, and what is on this machine is never asked for through one.
"""

import http.client
import json
import math
import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from itertools import chain, count
from typing import Any, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from tulu_cli.engines.worker import last_error_of
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.protocol.errors import LONGEST_MESSAGE, parsed, refusal
from tulu_cli.text import one_line
from tulu_cli.warm.endpoint import Address
from tulu_cli.warm.unix_http import UnixConnection

LONGEST = 16 * 2**20  # bytes of an event; an answer's whole text is less


class Lines(Protocol):
    """Where the lines come from; b"" is the end."""

    def readline(self, limit: int = -1, /) -> bytes: ...


def event_data(stream: Lines) -> Iterator[bytes]:
    """The data of each whole event; comments and other fields are left out.

    An event that has not ended when the stream does is none. Raises ValueError for one that is
    longer than LONGEST: nothing but a mistake has no line end for so long.
    """
    data: list[bytes] = []
    room = LONGEST
    while line := stream.readline(room + 1):
        room -= len(line)
        if room < 0:
            raise ValueError(f"it sends an event of more than {LONGEST // 2**20} MiB")
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text.removeprefix(b"data:").removeprefix(b" "))
        elif not text:
            if data:
                yield b"\n".join(data)
            data, room = [], LONGEST


# vLLM's server lives a while longer than its worker, and says this (EngineDeadError).
_WORKER_DIED = "EngineCore encountered an issue"
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0  # a server that wants more of it is not waited for
_ANSWER_SECONDS = 10.0  # to connect, and for what needs no computing

_T = TypeVar("_T")


class _Lost(EngineDied):
    """A connection that broke, or that could not be made: another one may not."""


class _Busy(Exception):
    """A refusal that another attempt may turn into an answer, so many seconds later."""

    def __init__(self, failure: TuluError, seconds: float) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.seconds = seconds


class Wire:
    """The way to one server; each request has a connection of its own."""

    def __init__(self, endpoint: Address, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {"Content-Type": "application/json", **headers}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._hung_up = threading.Event()

    @contextmanager
    def open(
        self, path: str, body: Mapping[str, Any], *, patient: bool = True
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """POST a body; gives the chunks of the answer. Leaving it hangs up.

        Raises EngineDied where the server is gone, and what it says where it refuses. If `patient`,
        it is asked again until the first chunk is there; else that is left to `patiently`.
        """
        with closing(self._chunks(path, json.dumps(body).encode(), patient=patient)) as chunks:
            yield chunks

    def get(self, path: str) -> Any:
        """The JSON of a GET. Raises the same."""
        return self.patiently(lambda: self._told("GET", path, None), also_lost=False)

    def patiently(self, ask: Callable[[], _T], *, also_lost: bool = True) -> _T:
        """What `ask` gives, after a few attempts at a server that is busy.

        With `also_lost`, also at one that does not answer; `hang_up` ends the waiting.
        """
        hung_up, pause = self._hung_up, _FIRST_PAUSE_SECONDS
        attempts = 1 if self._endpoint.url is None else _ATTEMPTS
        for attempt in count(1):
            failure: TuluError
            try:
                return ask()
            except _Busy as busy:
                failure, seconds = busy.failure, busy.seconds
            except _Lost as lost:
                failure, seconds = lost, 0.0 if also_lost else math.inf
            if attempt == attempts or seconds > _LONGEST_PAUSE_SECONDS:
                raise failure
            if hung_up.wait(max(seconds, pause)):
                raise failure
            pause *= 2
        raise AssertionError("the attempts have an end")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST that is answered whole, asked again as by `open`. Raises the same."""
        data = json.dumps(body).encode()
        return self.patiently(lambda: self._told("POST", path, data))

    def hang_up(self) -> None:
        """End all requests that run, from whatever thread."""
        with self._lock:
            running = list(self._open)
            hung_up, self._hung_up = self._hung_up, threading.Event()
        hung_up.set()
        for connection in running:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _chunks(
        self, path: str, body: bytes, *, patient: bool
    ) -> Generator[dict[str, Any], None, None]:
        def begin() -> tuple[ExitStack, Iterator[dict[str, Any]]]:
            return self._begun(path, body)

        held, chunks = self.patiently(begin) if patient else begin()
        with held:
            yield from chunks

    def _begun(self, path: str, body: bytes) -> tuple[ExitStack, Iterator[dict[str, Any]]]:
        """An answer of which the first chunk is there, and what holds its connection."""
        with ExitStack() as held:
            chunks = self._read(held.enter_context(self._asked("POST", path, body)))
            first = next(chunks, None)
            return held.pop_all(), chunks if first is None else chain((first,), chunks)

    def _read(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        kind = response.headers.get_content_type()
        if kind == "application/json":  # asked for a stream, it gives the whole all the same
            with self._translated():
                data = response.read(LONGEST)
            yield self._chunk(data)
            return
        if kind == "text/html":
            raise self._senseless("a web page")
        with self._translated():
            for data in event_data(response):
                if data == b"[DONE]":
                    return
                yield self._chunk(data)
        raise _Lost(self._death("it hung up in mid-answer"))

    def _chunk(self, data: bytes) -> dict[str, Any]:
        told = self._json(data)
        if not isinstance(told, dict):
            raise self._senseless(_start(data))
        if told.get("error"):
            raise self._failure(200, told)
        return told

    def _told(self, method: str, path: str, body: bytes | None) -> Any:
        with self._asked(method, path, body) as response:
            with self._translated():
                data = response.read(LONGEST if body is None else None)  # a score is long
            return self._json(data)

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._senseless(_start(data)) from error

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        """The head of an answer. Raises _Busy where a later attempt may help."""
        with self._connected() as connection:
            with self._translated():
                if body is not None and connection.sock is not None:
                    connection.sock.settimeout(None)  # a long prompt takes its time
                connection.request(method, self._target(path), body, self._headers)
                response = connection.getresponse()
            with closing(response):
                if response.status == 200:
                    yield response
                    return
                with self._translated():
                    told = response.read(LONGEST)
        if 300 <= response.status < 400:
            raise self._sent_away(response.headers.get("Location"))
        if response.status == http.client.PROXY_AUTHENTICATION_REQUIRED and self._proxy is not None:
            raise UsageError(
                f"The proxy {self._proxy} wants to know who asks: the environment may name it as "
                "http://NAME:PASSWORD@HOST:PORT."
            )
        failure = self._failure(response.status, parsed(told))
        if _is_busy(response.status) and not isinstance(failure, EngineDied):
            raise _Busy(failure, _seconds(response.headers.get("Retry-After")))
        raise failure

    @contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        """An open connection that `hang_up` knows."""
        with closing(self._connection()) as connection:
            with self._translated():
                connection.connect()
            with self._lock:
                self._open.add(connection)
            try:
                yield connection
            finally:
                with self._lock:
                    self._open.discard(connection)

    def _connection(self) -> http.client.HTTPConnection:
        if self._endpoint.socket is not None:
            return UnixConnection(self._endpoint.socket)

        try:
            return connection_to(self._url, self._proxy, _ANSWER_SECONDS)
        except (KeyError, ValueError, http.client.InvalidURL) as error:
            raise _no_url(self._endpoint.url) from error

    @cached_property
    def _url(self) -> SplitResult:
        """Where the server is. Raises ValueError for what is no URL, UsageError for half of one."""
        url = urlsplit(self._endpoint.url or "")
        if "@" in url.netloc or url.query or url.fragment:
            raise _no_url(f"{url.scheme}://{url.hostname} with a password or a query")
        return url

    @cached_property
    def _proxy(self) -> "Proxy | None":
        """What stands on the way to a URL."""
        return proxy_for(self._url)

    def _target(self, path: str) -> str:
        """The path under that of the URL, whether or not that has the /v1 of OpenAI's base URLs."""
        if self._endpoint.url is None:
            return path
        return self._url.path.rstrip("/").removesuffix("/v1") + path

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise _Lost(self._death(said)) from error

    def _failure(self, status: int, told: Any) -> TuluError:
        error = refusal(status, told)
        return EngineDied(self._death("its worker died")) if _WORKER_DIED in str(error) else error

    def _senseless(self, told: str) -> EngineError:
        return EngineError(
            f"The server at {self._endpoint.url or 'the socket'} sends {told} and no JSON: "
            "is the URL that of an OpenAI-compatible server?"
        )

    def _sent_away(self, place: str | None) -> EngineError:
        return EngineError(
            f"The server at {self._endpoint.url} sends us on to "
            f"{one_line(place or 'nowhere', LONGEST_MESSAGE)!r}, "
            "where no key and no prompt is sent unasked: name that URL with --server."
        )

    def _death(self, reason: str) -> str:
        if self._endpoint.url is not None:
            if (proxy := self._proxy) is None:
                return f"The server at {self._endpoint.url} does not answer: {reason}."
            return (
                f"The server at {self._endpoint.url} does not answer through the proxy {proxy}: "
                f"{reason}. NO_PROXY={self._url.hostname} goes around it."
            )
        log = self._endpoint.log
        last = last_error_of(log) if log else None
        said = f". Its last error: {last}." if last else f" ({reason})."
        return f"The warm engine of {self._endpoint.name} is gone{said}"


def _no_url(url: str | None) -> UsageError:
    return UsageError(f"--server takes a URL such as http://host:8000, not {url!r}.")


def _is_busy(status: int) -> bool:
    return status in (408, 429) or (500 <= status < 600 and status != 501)


def _seconds(told: str | None) -> float:
    """A Retry-After in seconds; one that names a date, or nothing, is none."""
    return float(told) if told is not None and told.isascii() and told.isdigit() else 0.0


def _start(data: bytes) -> str:
    return repr(data[:60].decode("utf-8", errors="replace"))


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and the headers by which it knows us."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}"


class ProxiedConnection(http.client.HTTPConnection):
    """HTTP through a proxy, which is told the whole URL and passes the request on."""

    def __init__(self, url: SplitResult, proxy: Proxy, timeout: float) -> None:
        super().__init__(proxy.host, proxy.port, timeout=timeout)
        self._origin = f"{url.scheme}://{url.netloc}"
        self._known_by = proxy.headers

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] = {},
        *,
        encode_chunked: bool = False,
    ) -> None:
        """Send a request for a path of the server's."""
        headers = {**headers, **self._known_by}
        super().request(method, self._origin + url, body, headers, encode_chunked=encode_chunked)


def connection_to(
    url: SplitResult, proxy: Proxy | None, timeout: float
) -> http.client.HTTPConnection:
    """A connection that is not open yet. Raises KeyError for a scheme that is none of HTTP's."""
    host, port = url.hostname or "", url.port
    if proxy is None:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        return kinds[url.scheme](host, port, timeout=timeout)
    if url.scheme == "http":
        return ProxiedConnection(url, proxy, timeout)
    # The proxy sees where it goes and no more: the key and the prompt are encrypted inside.
    tunnel = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=timeout)
    tunnel.set_tunnel(host, port or http.client.HTTPS_PORT, dict(proxy.headers))
    return tunnel


def proxy_for(url: SplitResult) -> Proxy | None:
    """The proxy for a URL, None where it is reached without. Raises UsageError for a bad one."""
    from urllib.request import getproxies, proxy_bypass

    host = url.hostname or ""
    proxies = getproxies()
    told = proxies.get(url.scheme) or proxies.get("all")
    place = host if url.port is None else f"{host}:{url.port}"
    if not told or _is_here(host) or proxy_bypass(place):
        return None
    try:
        found = urlsplit(told if "://" in told else f"http://{told}")
        if found.scheme == "http" and found.hostname:
            return Proxy(found.hostname, found.port or http.client.HTTP_PORT, _known_by(found))
    except ValueError:
        pass
    raise UsageError(
        f"The proxy that the environment names for {host} cannot be used: --server takes one of "
        f"the form http://HOST:PORT. NO_PROXY={host} goes around it."
    )


def _known_by(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair: Iterable[str] = (unquote(part or "") for part in (proxy.username, proxy.password))
    return {"Proxy-Authorization": f"Basic {b64encode(':'.join(pair).encode()).decode()}"}


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
