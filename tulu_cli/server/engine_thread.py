"""The thread that an engine belongs to, and the requests that take turns in it.

A request's stream moves on by one event at a time, in turn with the others, so that a short answer
does not wait for a long one. No more than a few run at once, since each holds a cache; those that
wait are let in by client in turn, so that a client with a thousand requests delays others by one.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from tulu_cli.core import Done, EngineInfo, Request, Score, ScoreRequest, Text
from tulu_cli.errors import EngineError, TuluError

AT_ONCE = 4
END = object()


class Answering(Protocol):
    """What is needed of an engine."""

    info: EngineInfo

    def stream(self, request: Request) -> Iterator[Text | Done]: ...

    def score(
        self, requests: Iterable[ScoreRequest]
    ) -> Iterator[tuple[int, Score | TuluError]]: ...


class Job:
    """One request: its events go to `put`, then END or the error that it ended with."""

    def __init__(
        self, request: Request | ScoreRequest, client: str, put: Callable[[Any], None]
    ) -> None:
        self.request = request
        self.client = client
        self.put = put
        self.cancelled = False
        self.events: Iterator[Any] | None = None


class EngineThread:
    """Loads an engine in a thread of its own and runs requests there."""

    def __init__(self, load: Callable[[], Answering]) -> None:
        self._load = load
        self._arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: dict[str, deque[Job]] = {}
        self._running: deque[Job] = deque()
        self._loaded: queue.SimpleQueue[EngineInfo | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> EngineInfo:
        """Load the engine; raises what loading raises."""
        self._thread.start()
        told = self._loaded.get()
        if isinstance(told, BaseException):
            raise told
        return told

    @property
    def is_alive(self) -> bool:
        """Whether it can answer."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Let a request wait for its turn."""
        self._arrived.put(job)

    def _run(self) -> None:
        try:
            engine = self._load()
        except BaseException as error:  # noqa: BLE001 (raised again by `start`)
            self._loaded.put(error)
            return
        self._loaded.put(engine.info)
        while True:
            self._admit()
            for _ in range(len(self._running)):
                job = self._running.popleft()
                if advance(engine, job):
                    self._running.append(job)

    def _admit(self) -> None:
        """Take in what has arrived, waiting for it if there is nothing to do."""
        if not self._running and not self._waiting:
            self._queue(self._arrived.get())
        while not self._arrived.empty():
            self._queue(self._arrived.get())
        while self._waiting and len(self._running) < AT_ONCE:
            client, jobs = next(iter(self._waiting.items()))
            self._running.append(jobs.popleft())
            del self._waiting[client]
            if jobs:
                self._waiting[client] = jobs  # behind the other clients

    def _queue(self, job: Job) -> None:
        self._waiting.setdefault(job.client, deque()).append(job)


def begin(engine: Answering, request: Request | ScoreRequest) -> Iterator[Any]:
    """The events of a request: of a score there is one, which is all."""
    if isinstance(request, ScoreRequest):
        return engine.score([request])
    return engine.stream(request)


def advance(engine: Answering, job: Job) -> bool:
    """Move one request on by an event; whether there is more to come of it."""
    try:
        if job.cancelled:
            if job.events is not None:
                job.events.close()  # type: ignore[attr-defined]
            job.put(END)
            return False
        if job.events is None:
            job.events = begin(engine, job.request)
        job.put(next(job.events))
    except StopIteration:
        job.put(END)
        return False
    except TuluError as error:
        job.put(error)
        return False
    except Exception as error:  # noqa: BLE001 (one request must not end the others)
        job.put(EngineError(f"The engine failed: {type(error).__name__}: {error}."))
        return False
    return True
