"""One HTTP request and its answer: over the Unix socket of a warm engine, or to a URL.

The socket is spoken to by the standard library's client, because to import httpx takes longer than
a warm engine takes to its first token. URLs are httpx's: proxies, TLS and timeouts are as it has
them. A failure of either is an OSError with the reason that the system gives.
"""

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from tulu_cli.errors import UsageError
from tulu_cli.warm.unix_http import UnixConnection

if TYPE_CHECKING:
    import ssl

    import httpx

LONGEST = 16 * 2**20  # bytes of an event
_PIECE = 65536  # bytes that are read at a time, at most
_ANSWER_SECONDS = 10.0  # to connect, and for an answer that needs no computing


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of an answer, and the bytes of its body as they come."""

    url: str
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


class Line:
    """The connection of one request, which another thread can cut."""

    def __init__(self) -> None:
        self._is_cut = False
        self._socket: socket.socket | None = None

    def hold(self, connection: socket.socket) -> None:
        """Take the socket, or a socket over the one before, such as TLS."""
        self._socket = connection
        keep_alive(connection)
        if self._is_cut:
            self.cut()

    def cut(self) -> None:
        """Wake the thread that reads or writes: its connection has ended."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def keep_alive(connection: socket.socket) -> None:
    """Have the system look after a connection on which nothing comes for long.

    Networks forget such connections after minutes, and then neither side would hear of it.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10)):
        if connection.family != socket.AF_UNIX and hasattr(socket, name):  # macOS has one of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


class SocketTransport:
    """The way to a warm engine of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def ask(
        self, line: Line, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[Reply]:
        """Send a request; give its answer. Raise OSError or HTTPException if there is none."""
        with closing(UnixConnection(self._path)) as connection:
            connection.connect()
            line.hold(connection.sock)
            connection.request(method, path, body, headers)
            with closing(connection.getresponse()) as response:
                pieces = iter(lambda: response.read1(_PIECE), b"")
                yield Reply(path, response.status, response.headers.get, pieces)


class UrlTransport:
    """The way to a server at a URL.

    `proxy` is HOST:PORT once a connection through a proxy is tried, and None if there is none.
    """

    def __init__(self, url: str) -> None:
        self.proxy: str | None = None
        self._url = _checked_url(url)
        self.host = self._url.hostname
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    @contextmanager
    def ask(
        self, line: Line, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[Reply]:
        """Send a request; give its answer. Raise OSError or UsageError if there is none."""
        import httpx

        # A long prompt takes its time, to be sent and to be computed.
        seconds = _ANSWER_SECONDS if body is None else None
        with ExitStack() as held:
            with self._translated():
                asked = self._http().stream(
                    method,
                    self._target(path),
                    content=body,
                    headers=headers,
                    timeout=httpx.Timeout(seconds, connect=_ANSWER_SECONDS),
                    extensions={"trace": self._tracer(line)},
                )
                response = held.enter_context(asked)
            if response.status_code == http.client.PROXY_AUTHENTICATION_REQUIRED and self.proxy:
                raise self._needs_name()
            pieces = self._pieces(response)
            yield Reply(str(response.url), response.status_code, response.headers.get, pieces)

    def _pieces(self, response: "httpx.Response") -> Iterator[bytes]:
        with self._translated():
            yield from response.iter_bytes()

    def _http(self) -> "httpx.Client":
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> "httpx.Client":
        import httpx

        try:
            return httpx.Client(
                # Pieces of an answer are read as they come, which compression could hold back.
                headers={"User-Agent": "tulu", "Accept-Encoding": "identity"},
                verify=_certificates(),
                # A proxy does not know the way to a server on this machine.
                trust_env=not _is_here(self.host or ""),
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

    def _tracer(self, line: Line) -> Callable[[str, Mapping[str, Any]], None]:
        """Return a hook for httpx that notes where a connection goes, and gives it to `line`."""
        import httpx

        url = httpx.URL(self._target(""))
        server = url.raw_host.decode(), url.port or {"http": 80, "https": 443}[url.scheme]

        def trace(event: str, told: Mapping[str, Any]) -> None:
            if event.endswith("connect_tcp.started") and (told["host"], told["port"]) != server:
                host = f"[{told['host']}]" if ":" in told["host"] else told["host"]
                self.proxy = f"{host}:{told['port']}"
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                line.hold(told["return_value"].get_extra_info("socket"))

        return trace

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise OSError for a failure of httpx, with the reason that the system gives."""
        import httpx

        try:
            yield
        except httpx.InvalidURL as error:
            raise _not_a_url(self._url.geturl()) from error
        except httpx.ProxyError as error:
            if str(error).startswith(str(int(http.client.PROXY_AUTHENTICATION_REQUIRED))):
                raise self._needs_name() from error
            raise OSError(str(error)) from error
        except httpx.RequestError as error:
            raise OSError(_reason(error)) from error

    def _target(self, path: str) -> str:
        """Return the URL of a path such as /v1/models, or of one beside /v1."""
        base = _base_path(self._url.path)
        if path and not path.startswith("/v1"):
            base = base.removesuffix("/v1")
        return self._url._replace(path=base + path.removeprefix("/v1")).geturl()

    def _needs_name(self) -> UsageError:
        return UsageError(
            f"The proxy {self.proxy} requires a name and a password: put them into the URL of the "
            "environment, as http://NAME:PASSWORD@HOST:PORT."
        )


@cache
def _certificates() -> "ssl.SSLContext":
    """Return the certificates of this system, where a company adds its own, read once.

    A thread that still reads them while the process ends would crash it.
    """
    import ssl

    return ssl.create_default_context()


# What a URL ends with that was copied from an example of a request.
_ENDPOINT = re.compile(r"/(chat/completions|completions|models|responses)$")
_VERSION = re.compile(r"v\d+([.p]\d+)*((alpha|beta|preview|rc)\d*)?", re.IGNORECASE)


def _base_path(path: str) -> str:
    """Return what stands before /chat/completions, from the path of the URL that a user gave.

    An endpoint, or a path with a version, as in https://host/v1beta/openai, is taken at its word,
    as OpenAI's client takes its base URL; any other is the place of a server whose base is /v1.
    """
    path = path.rstrip("/")
    base = _ENDPOINT.sub("", path).rstrip("/")
    has_version = any(_VERSION.fullmatch(part) for part in base.split("/"))
    return base if has_version or base != path else f"{base}/v1"


def _checked_url(text: str) -> SplitResult:
    """Return the parts of a URL. Raise UsageError if it is not one of HTTP, or holds a password."""
    try:
        url = urlsplit(text.strip())
        is_http = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError as error:
        raise _not_a_url(text) from error
    if "@" in url.netloc or url.query or url.fragment:
        raise _not_a_url(f"{url.scheme}://{url.hostname} with a password or a query")
    if not is_http:
        raise _not_a_url(text)
    return url


def _not_a_url(url: str) -> UsageError:
    return UsageError(f"--server takes a URL such as http://host:8000, not {url!r}.")


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
