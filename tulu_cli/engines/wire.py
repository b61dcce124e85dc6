"""HTTP to a server that streams JSON: over a Unix socket, or over TCP to a URL.

The standard library's client: it asks no proxy, on a socket or off it, its connections can be hung
up from another thread, and it is loaded in a fifth of the time that httpx takes, which a warm
engine's first token would feel.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tulu_cli import errors
from tulu_cli.engines.workers import last_error_of
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.server.endpoint import Endpoint
from tulu_cli.server.unix_http import UnixConnection

_BUSY = (429, 502, 503, 504)
# vLLM's server lives a while longer than its worker, and says this (EngineDeadError).
_WORKER_DIED = "EngineCore encountered an issue"
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_ANSWER_SECONDS = 10.0  # to connect, and for what needs no computing


class Wire:
    """The way to one server; each request has a connection of its own."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {"Content-Type": "application/json", **headers}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()

    @contextmanager
    def open(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """POST a body; gives the chunks of the answer. Leaving it hangs up.

        Raises EngineDied where the server is gone, and what it says where it refuses.
        """
        with closing(self._chunks(path, json.dumps(body).encode())) as chunks:
            yield chunks

    def get(self, path: str) -> Any:
        """The JSON of a GET. Raises the same."""
        with self._asked("GET", path, None) as response, self._translated():
            return json.loads(response.read())

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST that is answered whole. Raises the same."""
        data = json.dumps(body).encode()
        with self._asked("POST", path, data) as response, self._translated():
            return json.loads(response.read())

    def hang_up(self) -> None:
        """End all requests that run, from whatever thread."""
        with self._lock:
            running = list(self._open)
        for connection in running:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _chunks(self, path: str, body: bytes) -> Generator[dict[str, Any], None, None]:
        with self._asked("POST", path, body) as response:
            with self._translated():
                for line in response:
                    if not line.startswith(b"data: "):
                        continue
                    if line.strip() == b"data: [DONE]":
                        return
                    chunk = json.loads(line[len(b"data: ") :])
                    if "error" in chunk:
                        raise self._failure(200, chunk)
                    yield chunk
            raise self._died("it hung up in mid-answer")

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        """The head of an answer, after a few attempts at a server that is busy."""
        attempts = 1 if self._endpoint.url is None else _ATTEMPTS
        for attempt in range(attempts):
            with self._connected() as connection:
                with self._translated():
                    if body is not None and connection.sock is not None:
                        connection.sock.settimeout(None)  # a long prompt takes its time
                    connection.request(method, self._target(path), body, self._headers)
                    response = connection.getresponse()
                if response.status == 200:
                    with closing(response):
                        yield response
                    return
                with self._translated():
                    told = response.read()
            if response.status not in _BUSY:
                break
            if attempt + 1 < attempts:
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        raise self._failure(response.status, _parsed(told))

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
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        try:
            url = urlsplit(self._endpoint.url or "")
            return kinds[url.scheme](url.hostname or "", url.port, timeout=_ANSWER_SECONDS)
        except (KeyError, ValueError, http.client.InvalidURL) as error:
            raise UsageError(
                f"--server takes a URL such as http://host:8000, not {self._endpoint.url!r}."
            ) from error

    def _target(self, path: str) -> str:
        """The path under that of the URL, whether or not that has the /v1 of OpenAI's base URLs."""
        base = urlsplit(self._endpoint.url or "").path.rstrip("/").removesuffix("/v1")
        return base + path

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise self._died(said) from error

    def _failure(self, status: int, told: Any) -> TuluError:
        error = refusal(status, told)
        return self._died("its worker died") if _WORKER_DIED in str(error) else error

    def _died(self, reason: str) -> EngineDied:
        if self._endpoint.url is not None:
            return EngineDied(f"The server at {self._endpoint.url} does not answer: {reason}.")
        log = self._endpoint.log
        last = last_error_of(log) if log else None
        said = f". Its last error: {last}." if last else f" ({reason})."
        return EngineDied(f"The warm engine of {self._endpoint.info.model} is gone{said}")


def refusal(status: int, told: Any) -> TuluError:
    """What a server says instead of an answer, as an error; ours send the class of theirs."""
    error = told.get("error", told) if isinstance(told, dict) else {}
    error = error if isinstance(error, dict) else {"message": error}
    message = str(error.get("message") or "no reason given").rstrip(".")
    kind = getattr(errors, str(error.get("type")), None)
    if isinstance(kind, type) and issubclass(kind, TuluError):
        return kind(f"{message}.")
    if status in (401, 403):
        return EngineError(
            f"The server wants a key ({message}): --api-key-env names the variable that holds it."
        )
    return EngineError(f"The server refused the request ({status}): {message}.")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return {"message": data[:200].decode("utf-8", errors="replace")}
