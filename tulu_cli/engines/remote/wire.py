"""A server that sends JSON: its chunks, its refusals, and the patience with one that is busy."""

import http.client
import json
import math
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain, count
from typing import Any, TypeVar, cast
from urllib.parse import quote, urljoin

from tulu_cli.engines.remote.events import DONE, ERROR, begin_of, begins_with_event, events
from tulu_cli.engines.remote.transport import (
    LONGEST,
    Line,
    Reply,
    SocketTransport,
    UrlTransport,
)
from tulu_cli.engines.worker import last_error_of
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.protocol.errors import Refused, may_pass, parsed, refusal
from tulu_cli.text import one_line
from tulu_cli.warm.endpoint import Address

# vLLM's server lives a while longer than its worker, and says this (EngineDeadError).
_WORKER_DIED = "EngineCore encountered an issue"
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
_SHORTEST_SECRET = 8  # characters
_LONGEST_PAUSE_SECONDS = 60.0  # a server that asks for a longer one is not waited for
# Gateways give up on a connection without a byte, and say so, or break it after 30 s or more.
_GATEWAY_GAVE_UP = (408, 504, 524)
_SILENT_SECONDS = 25.0

_T = TypeVar("_T")


class _Lost(EngineDied):
    """A connection that broke or could not be made; another attempt may succeed."""


class Unheard(Exception):
    """A whole answer that was waited for long, and did not come through; a stream may."""


class _Busy(Exception):
    """A refusal that may turn into an answer after so many seconds."""

    def __init__(self, failure: TuluError, seconds: float) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.seconds = seconds


class Secret:
    """A key that is shown to nobody, though a server may repeat it in what it says."""

    def __init__(self, key: str | None) -> None:
        spellings = {key, quote(key, safe=""), quote(key)} if key else set()
        either = "|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))
        # A stand-in such as "x" for a server that wants no key is no secret inside of a word.
        is_short = len(key or "") < _SHORTEST_SECRET
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)" if is_short else either)
        self._is_none = not key

    def hidden(self, told: _T) -> _T:
        """Return a JSON value, or a text, with *** in place of the key in each of its texts."""
        made: Any = told
        if self._is_none:
            return told
        if isinstance(told, str):
            made = self._pattern.sub("***", told)
        elif isinstance(told, list):
            made = [self.hidden(item) for item in told]
        elif isinstance(told, dict):
            made = {name: self.hidden(item) for name, item in told.items()}
        return cast(_T, made)


class Wire:
    """HTTP to one server; each request has a connection of its own."""

    def __init__(self, endpoint: Address, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {"Content-Type": "application/json", **headers}
        self._secret = Secret(endpoint.api_key)
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {_checked(endpoint.api_key)}"
        self._running: set[Line] = set()
        self._lock = threading.Lock()
        self._hung_up = threading.Event()
        self._transport = (
            UrlTransport(endpoint.url or "")
            if endpoint.socket is None
            else SocketTransport(endpoint.socket)
        )

    @contextmanager
    def open(
        self, path: str, body: Mapping[str, Any], *, patient: bool = True
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """POST a body and give the chunks of the streamed answer; leaving the context hangs up.

        If `patient`, a busy server is asked again until the first chunk is there; otherwise the
        caller retries with `patiently`. An answer that the body asks for as a whole is one chunk.
        Raise EngineDied if the server is gone, the server's refusal, or Unheard.
        """
        with closing(self._chunks(path, body, patient=patient)) as chunks:
            yield chunks

    def get(self, path: str) -> Any:
        """Return the JSON of a GET. Raise EngineDied or the server's refusal."""
        return self.patiently(lambda: self._document("GET", path, None), also_lost=False)

    def text(self, path: str) -> str:
        """Return the text of a GET, asked once. Raise EngineDied or the server's refusal."""
        try:
            with self._accepted("GET", path, None) as reply, self._translated():
                return reply.body().decode("utf-8", errors="replace")
        except _Busy as busy:
            raise busy.failure from busy

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of a POST. Raise EngineDied or the server's refusal."""
        data = json.dumps(body).encode()
        return self.patiently(lambda: self._document("POST", path, data))

    def patiently(self, ask: Callable[[], _T], *, also_lost: bool = True) -> _T:
        """Return what `ask` returns, after a few attempts if the server is busy.

        With `also_lost`, a connection that broke is tried again too. `hang_up` ends the waiting.
        """
        hung_up, pause = self._hung_up, _FIRST_PAUSE_SECONDS
        also_lost = also_lost and not self._endpoint.is_one_of_several
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
        self, path: str, body: Mapping[str, Any], *, patient: bool
    ) -> Generator[dict[str, Any], None, None]:
        data, whole = json.dumps(body).encode(), not body["stream"]

        def begin() -> tuple[ExitStack, Iterator[dict[str, Any]]]:
            hung_up, begun = self._hung_up, time.monotonic()
            try:
                return self._begun(path, data, whole=whole)
            except (_Busy, _Lost) as error:
                is_late = time.monotonic() - begun >= _SILENT_SECONDS
                if not whole or hung_up.is_set() or not (is_late or _gave_up(error)):
                    raise
                raise Unheard from error

        held, chunks = self.patiently(begin) if patient else begin()
        with held:
            yield from chunks

    def _begun(
        self, path: str, body: bytes, *, whole: bool
    ) -> tuple[ExitStack, Iterator[dict[str, Any]]]:
        """Return an answer whose first chunk is there, and what holds its connection."""
        with ExitStack() as held:
            reply = held.enter_context(self._accepted("POST", path, body))
            chunks = self._read(reply, whole=whole)
            first = next(chunks, None)
            return held.pop_all(), chunks if first is None else chain((first,), chunks)

    def _read(self, reply: Reply, *, whole: bool) -> Iterator[dict[str, Any]]:
        if reply.content_type == "text/html":
            raise self._senseless("a web page")
        pieces = reply.pieces
        if whole or reply.content_type == "application/json":
            with self._translated():
                begin = begin_of(pieces)
            pieces = chain((begin,), pieces)
            if not begins_with_event(begin):  # or, asked for a stream, it gives the whole
                with self._translated():
                    data = replace(reply, pieces=pieces).body(None if whole else LONGEST)
                if not data.strip():
                    raise _Lost(self._death("it sent nothing"))
                yield self._chunk(data)
                return
        with self._translated():
            for name, data in events(pieces):
                if name == ERROR:
                    raise self._refusal(self._parsed(data))
                if data.strip() == DONE:
                    return
                yield self._chunk(data)
        raise _Lost(self._death("it hung up in mid-answer"))

    def _chunk(self, data: bytes) -> dict[str, Any]:
        """Return a chunk. Raise what it says if it refuses; `detail` is FastAPI's word."""
        told = self._json(data)
        if not isinstance(told, dict):
            raise self._senseless(self._start(data))
        is_text = isinstance(told.get("message"), str)
        if told.get("error") or ("choices" not in told and (is_text or told.get("detail"))):
            raise self._refusal(told)
        return told

    def _refusal(self, told: Any) -> TuluError:
        """Return a refusal in the body of an answer, whose status was 200."""
        told = told if isinstance(told, dict) else {"message": told}
        error = told.get("error")
        code = (error if isinstance(error, dict) else told).get("code")
        return self._failure(code if type(code) is int and 400 <= code < 600 else 200, told)

    def _document(self, method: str, path: str, body: bytes | None) -> Any:
        with self._accepted(method, path, body) as reply:
            with self._translated():
                data = reply.body(LONGEST if body is None else None)  # a score is long
            return self._json(data)

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._senseless(self._start(data)) from error

    @contextmanager
    def _accepted(self, method: str, path: str, body: bytes | None) -> Iterator[Reply]:
        """Give an answer with status 200. Raise _Busy if a later attempt may get one."""
        with ExitStack() as held:
            line = held.enter_context(self._known_line())
            with self._translated():
                reply = held.enter_context(
                    self._transport.ask(line, method, path, body, self._headers)
                )
            if reply.status == 200:
                yield reply
                return
            with self._translated():
                told = reply.body()
        if 300 <= reply.status < 400:
            raise Refused(self._redirected(reply.url, path, reply.header("Location")), reply.status)
        failure = self._failure(reply.status, self._parsed(told))
        if reply.status in (404, 405) and isinstance(failure, Refused):
            url = one_line(self._secret.hidden(reply.url))
            failure = Refused(f"{failure} It was sent to {url}.", reply.status)
        if may_pass(reply.status) and not isinstance(failure, EngineDied):
            raise _Busy(failure, _seconds(reply.header("Retry-After")))
        raise failure

    @contextmanager
    def _known_line(self) -> Iterator[Line]:
        """Give a line that `hang_up` knows."""
        line = Line()
        with self._lock:
            self._running.add(line)
        try:
            yield line
        finally:
            with self._lock:
                self._running.discard(line)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            hidden = self._secret.hidden(said)
            # A traceback would show the reason as it came.
            raise _Lost(self._death(hidden)) from (error if hidden == said else None)

    def _failure(self, status: int, told: Any) -> TuluError:
        error = refusal(status, self._secret.hidden(told))
        return EngineDied(self._death("its worker died")) if _WORKER_DIED in str(error) else error

    def _start(self, data: bytes) -> str:
        return repr(self._secret.hidden(data[:4096].decode("utf-8", errors="replace"))[:60])

    def _parsed(self, data: bytes) -> Any:
        return parsed(data, self._secret.hidden)

    def _senseless(self, told: str) -> EngineError:
        return EngineError(
            f"The server at {self._endpoint.url or 'the socket'} sent {told} instead of "
            "JSON: check that the URL is that of an OpenAI-compatible server."
        )

    def _redirected(self, url: str, path: str, place: str | None) -> str:
        if not place:
            return f"{self._endpoint.url} redirects, but does not say where to."
        place = one_line(self._secret.hidden(urljoin(url, place)))
        return (
            f"{self._endpoint.url} redirects to {place}. Redirects are not followed, so your key "
            "and prompt stay where you sent them; use --server "
            f"{place.removesuffix(path)}."
        )

    def _death(self, reason: str) -> str:
        reason = reason.rstrip(".")
        if isinstance(self._transport, UrlTransport):
            url, proxy, host = self._endpoint.url, self._transport.proxy, self._transport.host
            if proxy is None:
                return f"The server at {url} does not answer: {reason}."
            return (
                f"The server at {url} does not answer through the proxy {proxy}: {reason}. "
                f"NO_PROXY={host} goes around it."
            )
        log = self._endpoint.log
        last = last_error_of(log) if log else None
        said = f". Its last error: {last}." if last else f" ({reason})."
        return f"The warm engine of {self._endpoint.name} is gone{said}"


def _gave_up(error: Exception) -> bool:
    """Return True if a gateway says that it has waited long enough for a server."""
    failure = error.failure if isinstance(error, _Busy) else error
    return isinstance(failure, Refused) and failure.status in _GATEWAY_GAVE_UP


def _checked(key: str) -> str:
    """Return the key. Raise UsageError, which does not show it, if no header can carry it."""
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            "The API key cannot be sent: it must consist of printable ASCII characters, "
            "without line ends."
        )
    return key


def _seconds(told: str | None) -> float:
    """Return a Retry-After in seconds; 0 for a date, or for none."""
    return float(told) if told is not None and told.isascii() and told.isdigit() else 0.0
