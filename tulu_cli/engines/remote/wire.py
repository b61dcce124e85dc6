"""HTTP to a server that streams JSON: over the Unix socket of a warm engine, or to a URL.

The socket is spoken to by the standard library's client: to import httpx takes longer than a warm
engine takes to its first token. URLs are httpx's: proxies, TLS and timeouts are as it has them.
"""

import http.client
import json
import math
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from tulu_cli.engines.worker import last_error_of
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.protocol.errors import one_line, parsed, refusal
from tulu_cli.warm.endpoint import Endpoint
from tulu_cli.warm.unix_http import UnixConnection

if TYPE_CHECKING:
    import httpx

LONGEST = 16 * 2**20  # bytes of an event; an answer's whole text is less
_PIECE = 65536  # bytes that are read at a time, at most

# vLLM's server lives a while longer than its worker, and says this (EngineDeadError).
_WORKER_DIED = "EngineCore encountered an issue"
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0  # a server that asks for a longer one is not waited for
_ANSWER_SECONDS = 10.0  # to connect, and for an answer that needs no computing

_T = TypeVar("_T")


def event_data(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the data of each whole server-sent event; comments and other fields are left out.

    `pieces` are the bytes of the stream, cut anywhere. An event that the stream does not end with
    an empty line is dropped. Raise ValueError for an event of more than LONGEST bytes.
    """
    data: list[bytes] = []
    size = 0
    for line in _lines(pieces):
        size += len(line)
        _check_size(size)
        if line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif not line:
            if data:
                yield b"\n".join(data)
            data, size = [], 0


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each whole line without its end."""
    rest = bytearray()
    for piece in pieces:
        first, *lines = piece.split(b"\n")
        rest += first
        for line in lines:
            yield bytes(rest).rstrip(b"\r")
            rest = bytearray(line)
        _check_size(len(rest))


def _check_size(size: int) -> None:
    if size > LONGEST:
        raise ValueError(f"it sends an event of more than {LONGEST // 2**20} MiB")


class _Lost(EngineDied):
    """A connection that broke or could not be made; another attempt may succeed."""


class _Busy(Exception):
    """A refusal that may turn into an answer after so many seconds."""

    def __init__(self, failure: TuluError, seconds: float) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Reply:
    """The head of an answer, and the bytes of its body as they come."""

    status: int
    header: Callable[[str], str | None]
    pieces: Iterator[bytes]

    @property
    def content_type(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    def body(self, most: int | None = LONGEST) -> bytes:
        """Read the body, or its first `most` bytes."""
        data = bytearray()
        for piece in self.pieces:
            data += piece
            if most is not None and len(data) >= most:
                break
        return bytes(data[:most])


class _Line:
    """The connection of one request, which another thread can cut."""

    def __init__(self) -> None:
        self._is_cut = False
        self._socket: socket.socket | None = None

    def hold(self, connection: socket.socket) -> None:
        """Take the socket, or a socket over the one before, such as TLS."""
        self._socket = connection
        if self._is_cut:
            self.cut()

    def cut(self) -> None:
        """Wake the thread that reads or writes: its connection has ended."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Wire:
    """HTTP to one server; each request has a connection of its own."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {"Content-Type": "application/json", **headers}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {_checked(endpoint.api_key)}"
        self._running: set[_Line] = set()
        self._lock = threading.Lock()
        self._hung_up = threading.Event()
        self._client: httpx.Client | None = None
        self._proxy: str | None = None  # known once a connection to it is tried

    @contextmanager
    def open(
        self, path: str, body: Mapping[str, Any], *, patient: bool = True
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """POST a body and give the chunks of the streamed answer; leaving the context hangs up.

        If `patient`, a busy server is asked again until the first chunk is there; otherwise the
        caller retries with `patiently`. Raise EngineDied if the server is gone, or the server's
        refusal.
        """
        with closing(self._chunks(path, json.dumps(body).encode(), patient=patient)) as chunks:
            yield chunks

    def get(self, path: str) -> Any:
        """Return the JSON of a GET. Raise EngineDied or the server's refusal."""
        return self.patiently(lambda: self._document("GET", path, None), also_lost=False)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of a POST. Raise EngineDied or the server's refusal."""
        data = json.dumps(body).encode()
        return self.patiently(lambda: self._document("POST", path, data))

    def patiently(self, ask: Callable[[], _T], *, also_lost: bool = True) -> _T:
        """Return what `ask` returns, after a few attempts if the server is busy.

        With `also_lost`, a connection that broke is tried again too. `hang_up` ends the waiting.
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

    def hang_up(self) -> None:
        """End all running requests; any thread may call this."""
        with self._lock:
            running = list(self._running)
            hung_up, self._hung_up = self._hung_up, threading.Event()
        hung_up.set()
        for line in running:
            line.cut()

    def _chunks(
        self, path: str, body: bytes, *, patient: bool
    ) -> Generator[dict[str, Any], None, None]:
        def begin() -> tuple[ExitStack, Iterator[dict[str, Any]]]:
            return self._begun(path, body)

        held, chunks = self.patiently(begin) if patient else begin()
        with held:
            yield from chunks

    def _begun(self, path: str, body: bytes) -> tuple[ExitStack, Iterator[dict[str, Any]]]:
        """Return an answer whose first chunk is there, and what holds its connection."""
        with ExitStack() as held:
            chunks = self._read(held.enter_context(self._accepted("POST", path, body)))
            first = next(chunks, None)
            return held.pop_all(), chunks if first is None else chain((first,), chunks)

    def _read(self, reply: _Reply) -> Iterator[dict[str, Any]]:
        if reply.content_type == "application/json":  # asked for a stream, it gives the whole
            with self._translated():
                data = reply.body()
            yield self._chunk(data)
            return
        if reply.content_type == "text/html":
            raise self._senseless("a web page")
        with self._translated():
            for data in event_data(reply.pieces):
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

    def _document(self, method: str, path: str, body: bytes | None) -> Any:
        with self._accepted(method, path, body) as reply:
            with self._translated():
                data = reply.body(LONGEST if body is None else None)  # a score is long
            return self._json(data)

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._senseless(_start(data)) from error

    @contextmanager
    def _accepted(self, method: str, path: str, body: bytes | None) -> Iterator[_Reply]:
        """Give an answer with status 200. Raise _Busy if a later attempt may get one."""
        with ExitStack() as held:
            line = held.enter_context(self._known_line())
            with self._translated():
                reply = held.enter_context(self._asked(line, method, path, body))
            if reply.status == 200:
                yield reply
                return
            with self._translated():
                told = reply.body()
        if 300 <= reply.status < 400:
            raise self._redirected(path, reply.header("Location"))
        if reply.status == http.client.PROXY_AUTHENTICATION_REQUIRED and self._proxy is not None:
            raise self._stopped_by_proxy()
        failure = self._failure(reply.status, parsed(told))
        if _is_busy(reply.status) and not isinstance(failure, EngineDied):
            raise _Busy(failure, _seconds(reply.header("Retry-After")))
        raise failure

    @contextmanager
    def _known_line(self) -> Iterator[_Line]:
        """Give a line that `hang_up` knows."""
        line = _Line()
        with self._lock:
            self._running.add(line)
        try:
            yield line
        finally:
            with self._lock:
                self._running.discard(line)

    def _asked(
        self, line: _Line, method: str, path: str, body: bytes | None
    ) -> AbstractContextManager[_Reply]:
        if self._endpoint.socket is not None:
            return self._asked_on_socket(line, self._endpoint.socket, method, path, body)
        return self._asked_at_url(line, method, path, body)

    @contextmanager
    def _asked_on_socket(
        self, line: _Line, path: Path, method: str, target: str, body: bytes | None
    ) -> Iterator[_Reply]:
        with closing(UnixConnection(path)) as connection:
            connection.connect()
            line.hold(connection.sock)
            connection.request(method, target, body, self._headers)
            with closing(connection.getresponse()) as response:
                pieces = iter(lambda: response.read1(_PIECE), b"")
                yield _Reply(response.status, response.headers.get, pieces)

    @contextmanager
    def _asked_at_url(
        self, line: _Line, method: str, path: str, body: bytes | None
    ) -> Iterator[_Reply]:
        import httpx

        # A long prompt takes its time, to be sent and to be computed.
        seconds = _ANSWER_SECONDS if body is None else None
        with ExitStack() as held:
            with self._http_translated():
                asked = self._http().stream(
                    method,
                    self._target(path),
                    content=body,
                    headers=self._headers,
                    timeout=httpx.Timeout(seconds, connect=_ANSWER_SECONDS),
                    extensions={"trace": self._tracer(line)},
                )
                response = held.enter_context(asked)
            yield _Reply(response.status_code, response.headers.get, self._pieces(response))

    def _pieces(self, response: "httpx.Response") -> Iterator[bytes]:
        with self._http_translated():
            yield from response.iter_bytes()

    def _http(self) -> "httpx.Client":
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> "httpx.Client":
        import ssl

        import httpx

        try:
            return httpx.Client(
                # Pieces of an answer are read as they come, which compression could hold back.
                headers={"User-Agent": "tulu", "Accept-Encoding": "identity"},
                # The certificates of this system, where a company adds its own.
                verify=ssl.create_default_context(),
                # A proxy does not know the way to a server on this machine.
                trust_env=not _is_here(self._url.hostname or ""),
                # Each request has a connection of its own, so that one can be cut alone.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        except ImportError as error:
            raise UsageError(
                "The proxy that the environment names speaks SOCKS, which needs one more package: "
                "pip install 'httpx[socks]'."
            ) from error
        except (ValueError, httpx.InvalidURL) as error:
            # Not the reason, in which a password may stand.
            raise UsageError(
                "The proxy that the environment names (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) "
                "cannot be used: it must have the form http://HOST:PORT."
            ) from error

    def _tracer(self, line: _Line) -> Callable[[str, Mapping[str, Any]], None]:
        """Return a hook for httpx that notes where a connection goes, and gives it to `line`."""
        import httpx

        url = httpx.URL(self._target(""))
        server = url.raw_host.decode(), url.port or {"http": 80, "https": 443}[url.scheme]

        def trace(event: str, told: Mapping[str, Any]) -> None:
            if event.endswith("connect_tcp.started") and (told["host"], told["port"]) != server:
                host = f"[{told['host']}]" if ":" in told["host"] else told["host"]
                self._proxy = f"{host}:{told['port']}"
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                line.hold(told["return_value"].get_extra_info("socket"))

        return trace

    @contextmanager
    def _http_translated(self) -> Iterator[None]:
        """Raise OSError for a failure of httpx, with the reason that the system gives."""
        import httpx

        try:
            yield
        except httpx.InvalidURL as error:
            raise _not_a_url(self._endpoint.url) from error
        except httpx.ProxyError as error:
            if str(error).startswith(str(int(http.client.PROXY_AUTHENTICATION_REQUIRED))):
                raise self._stopped_by_proxy() from error
            raise OSError(str(error)) from error
        except httpx.RequestError as error:
            raise OSError(_reason(error)) from error

    @cached_property
    def _url(self) -> SplitResult:
        """The parts of the server's URL. Raise UsageError if it is not a URL of HTTP."""
        try:
            url = urlsplit(self._endpoint.url or "")
            is_http = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError as error:
            raise _not_a_url(self._endpoint.url) from error
        if "@" in url.netloc or url.query or url.fragment:
            raise _not_a_url(f"{url.scheme}://{url.hostname} with a password or a query")
        if not is_http:
            raise _not_a_url(self._endpoint.url)
        return url

    def _target(self, path: str) -> str:
        """Return the URL of a path; the server's own may end with the /v1 of OpenAI's base URLs."""
        above = self._url.path.rstrip("/").removesuffix("/v1")
        return self._url._replace(path=above + path).geturl()

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
            f"The server at {self._endpoint.url or 'the socket'} sent {told} instead of "
            "JSON: check that the URL is that of an OpenAI-compatible server."
        )

    def _redirected(self, path: str, place: str | None) -> EngineError:
        if not place:
            return EngineError(f"{self._endpoint.url} redirects, but does not say where to.")
        place = one_line(urljoin(self._target(path), place))
        return EngineError(
            f"{self._endpoint.url} redirects to {place}. Redirects are not followed, so your key "
            "and prompt stay where you sent them; use --server "
            f"{place.removesuffix(path)}."
        )

    def _stopped_by_proxy(self) -> UsageError:
        return UsageError(
            f"The proxy {self._proxy} requires a name and a password: put them into the URL of the "
            "environment, as http://NAME:PASSWORD@HOST:PORT."
        )

    def _death(self, reason: str) -> str:
        reason = reason.rstrip(".")
        if self._endpoint.url is not None:
            if self._proxy is None:
                return f"The server at {self._endpoint.url} does not answer: {reason}."
            return (
                f"The server at {self._endpoint.url} does not answer through the proxy "
                f"{self._proxy}: {reason}. NO_PROXY={self._url.hostname} goes around it."
            )
        log = self._endpoint.log
        last = last_error_of(log) if log else None
        said = f". Its last error: {last}." if last else f" ({reason})."
        return f"The warm engine of {self._endpoint.info.model} is gone{said}"


def _checked(key: str) -> str:
    """Return the key. Raise UsageError, which does not show it, if no header can carry it."""
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            "The API key cannot be sent: it must consist of printable ASCII characters, "
            "without line ends."
        )
    return key


def _not_a_url(url: str | None) -> UsageError:
    return UsageError(f"--server takes a URL such as http://host:8000, not {url!r}.")


def _is_busy(status: int) -> bool:
    return status in (408, 429) or (500 <= status < 600 and status != 501)


def _seconds(told: str | None) -> float:
    """Return a Retry-After in seconds; 0 for a date, or for none."""
    return float(told) if told is not None and told.isascii() and told.isdigit() else 0.0


def _start(data: bytes) -> str:
    return repr(data[:60].decode("utf-8", errors="replace"))


def _reason(error: BaseException) -> str:
    """Return the reason at the bottom of a failure: the system's, if it has one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _is_here(host: str) -> bool:
    """Return True if a host is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
