"""The thread that an engine belongs to, and the requests that take turns in it.

An engine that decodes many requests together is given them so. One that comes alone is streamed
by itself, because a stream begins with what is kept of its conversation. Any other engine streams
every request, a few at once, because each holds a cache. Streams advance by one event at a time, in
turn, so that a short answer does not wait for a long one. Waiting requests are let in by client in
turn, so that a client with a thousand requests delays the others by one. Scores that wait at the
same time are computed together.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Protocol, runtime_checkable

from tulu_cli.core import Done, EngineInfo, Request, ScoreRequest, Text
from tulu_cli.engines.base import Engine
from tulu_cli.errors import EngineError, TuluError

AT_ONCE = 4
SCORED_AT_ONCE = 32
END = object()


class Batchable(Protocol):
    """Requests that decode together, each under a position of its own.

    `advance` takes one step of all; a dropped request has no more events, and one that has failed
    ends with its error. After an error that `advance` raises, `clear` it.
    """

    def has_slot(self, request: Request) -> bool: ...

    def add(self, position: int, request: Request) -> None: ...

    def drop(self, position: int) -> None: ...

    def clear(self) -> None: ...

    def advance(self) -> Iterator[tuple[int, Text | Done | TuluError]]: ...


@runtime_checkable
class CanBatch(Protocol):
    """An engine that can decode together requests that come at any time, if it has a batch."""

    def continuous(self) -> Batchable | None: ...


class Job:
    """One request. Its events go to `put`, and then END or the error that it ended with."""

    def __init__(
        self, request: Request | ScoreRequest, client: str, put: Callable[[Any], None]
    ) -> None:
        self.request = request
        self.client = client
        self.put = put
        self.cancelled = False
        self.events: Iterator[Any] | None = None


class Scores:
    """Requests whose scores are computed together, in the place of one; each is given its own."""

    def __init__(self, jobs: list[Job], requests: list[ScoreRequest]) -> None:
        self.request = requests
        self.events: Iterator[Any] | None = None
        self._jobs = dict(enumerate(jobs))

    @property
    def cancelled(self) -> bool:
        """True once every client has hung up."""
        return all(job.cancelled for job in self._jobs.values())

    def put(self, event: Any) -> None:
        """Pass a score, with its place, to its request; pass anything else to all that wait."""
        if isinstance(event, tuple):
            job = self._jobs.pop(event[0])
            job.put(event)
            job.put(END)
            return
        for job in self._jobs.values():
            job.put(event)
        self._jobs.clear()


class EngineThread:
    """Loads an engine in a thread of its own and runs requests there."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: dict[str, deque[Job]] = {}
        self._running: deque[Job | Scores] = deque()
        self._loaded: queue.SimpleQueue[EngineInfo | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> EngineInfo:
        """Load the engine and return what was loaded. Raise what loading raises."""
        self._thread.start()
        told = self._loaded.get()
        if isinstance(told, BaseException):
            raise told
        return told

    @property
    def is_alive(self) -> bool:
        """True while the engine can answer."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Add a request to those that wait for their turn."""
        self._arrived.put(job)

    def _run(self) -> None:
        try:
            engine = self._load()
        except BaseException as error:  # noqa: BLE001 (raised again by `start`)
            self._loaded.put(error)
            return
        batch = engine.continuous() if isinstance(engine, CanBatch) else None
        batched = None if batch is None else BatchedJobs(batch)
        self._loaded.put(engine.info)
        while True:
            self._take_in(batched)
            for _ in range(len(self._running)):
                job = self._running.popleft()
                if advance(engine, job):
                    self._running.append(job)
            if batched is not None:
                batched.advance()

    def _take_in(self, batched: "BatchedJobs | None") -> None:
        """Begin what has arrived, waiting for it if there is nothing to do."""
        if not (self._running or self._waiting or (batched and batched.jobs)):
            self._queue(self._arrived.get())
        while not self._arrived.empty():
            self._queue(self._arrived.get())
        while self._waiting:
            client, jobs = next(iter(self._waiting.items()))
            if not self._begin(jobs[0], batched, alone=len(jobs) == 1):
                return
            jobs.popleft()
            del self._waiting[client]
            if jobs:
                self._waiting[client] = jobs  # behind the other clients

    def _begin(self, job: Job, batched: "BatchedJobs | None", *, alone: bool) -> bool:
        """Begin a request if it fits. `alone`: its client has no other that waits."""
        if isinstance(job.request, ScoreRequest):
            fits = len(self._running) < AT_ONCE
            if fits:
                self._running.append(self._scores(job, job.request))
            return fits
        if batched is None:
            fits = len(self._running) < AT_ONCE
        else:
            # A stream takes steps of its own beside the batch: not for a client of many.
            fits = alone and not self._running and not batched.has(job.client)
            if not fits:
                return batched.take(job, job.request)
        if fits:
            self._running.append(job)
        return fits

    def _scores(self, job: Job, request: ScoreRequest) -> Scores:
        """Join `job` with the other scores that wait, and take those off the queue."""
        jobs, requests = [job], [request]
        for client, waiting in list(self._waiting.items()):
            for other in list(waiting):
                asked = other.request
                if len(jobs) == SCORED_AT_ONCE or other is job or isinstance(asked, Request):
                    continue
                jobs.append(other)
                requests.append(asked)
                waiting.remove(other)
            if not waiting:
                del self._waiting[client]
        return Scores(jobs, requests)

    def _queue(self, job: Job) -> None:
        self._waiting.setdefault(job.client, deque()).append(job)


class BatchedJobs:
    """The requests that decode together, and the jobs that their events go to."""

    def __init__(self, batch: Batchable) -> None:
        self.jobs: dict[int, Job] = {}
        self._batch = batch
        self._numbers = count()
        self._choices: dict[int, int] = {}

    def has(self, client: str) -> bool:
        """Return True if a request of that client is here."""
        return any(job.client == client for job in self.jobs.values())

    def take(self, job: Job, request: Request) -> bool:
        """Let a request join, or return False if it does not fit. Its job is told what is wrong."""
        if not self._batch.has_slot(request):
            return False
        position = next(self._numbers)
        try:
            self._batch.add(position, request)
        except TuluError as error:
            job.put(error)
            return True
        self.jobs[position] = job
        self._choices[position] = request.sampling.n
        return True

    def advance(self) -> None:
        """Advance every request by one token."""
        dropped = [number for number, job in self.jobs.items() if job.cancelled]
        for position in dropped:
            self._batch.drop(position)
            self._end(position, END)
        if not self.jobs:
            if dropped:
                self._batch.clear()  # no step will come in which they leave
            return
        try:
            for position, event in self._batch.advance():
                self._pass_on(position, event)
        except Exception as error:  # noqa: BLE001 (the engine must live for the next)
            self._batch.clear()
            for position in list(self.jobs):
                self._end(position, as_ours(error))

    def _pass_on(self, position: int, event: Text | Done | TuluError) -> None:
        if isinstance(event, TuluError):
            self._end(position, event)
            return
        self.jobs[position].put(event)
        if isinstance(event, Done):
            self._choices[position] -= 1
            if not self._choices[position]:
                self._end(position, END)

    def _end(self, position: int, last: Any) -> None:
        self._choices.pop(position)
        self.jobs.pop(position).put(last)


def begin(engine: Engine, job: Job | Scores) -> Iterator[Any]:
    """Begin a request: return its events, or the scores of several."""
    if isinstance(job, Scores):
        return engine.score(job.request)
    assert isinstance(job.request, Request), "scores are begun together"
    return engine.stream(job.request)


def advance(engine: Engine, job: Job | Scores) -> bool:
    """Advance a request by one event. Return True if more may come."""
    try:
        if job.cancelled:
            if job.events is not None:
                job.events.close()  # type: ignore[attr-defined]
            job.put(END)
            return False
        if job.events is None:
            job.events = begin(engine, job)
        job.put(next(job.events))
    except StopIteration:
        job.put(END)
        return False
    except Exception as error:  # noqa: BLE001 (one request must not end the others)
        job.put(as_ours(error))
        return False
    return True


def as_ours(error: Exception) -> TuluError:
    """Return an error as one that a client can be told."""
    if isinstance(error, TuluError):
        return error
    return EngineError(f"The engine failed: {type(error).__name__}: {error}.")
