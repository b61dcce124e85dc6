"""The thread that an engine belongs to, and the requests that take turns in it.

An engine that can decode many requests together is given them so, but for one that comes alone:
that is streamed by itself, since a stream begins with what is kept of its conversation. Any other
engine streams every request, a few at once, since each holds a cache. Streams move on by one event
at a time, in turn, so that a short answer does not wait for a long one. Those that wait are let in
by client in turn, so that a client with a thousand requests delays others by one. Scores that wait
together are computed together.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, Protocol

from tulu_cli.core import Done, EngineInfo, Request, Score, ScoreRequest, Text
from tulu_cli.errors import EngineError, TuluError

AT_ONCE = 4
SCORED_AT_ONCE = 32
END = object()


class Together(Protocol):
    """Requests that decode together, each under a position of its own."""

    def has_room(self, request: Request) -> bool: ...

    def add(self, position: int, request: Request) -> None: ...

    def drop(self, position: int) -> None: ...

    def clear(self) -> None: ...

    def advance(self) -> Iterator[tuple[int, Text | Done]]: ...


class Answering(Protocol):
    """What is needed of an engine; `continuous` is None where it answers one at a time."""

    info: EngineInfo

    def stream(self, request: Request) -> Iterator[Text | Done]: ...

    def continuous(self) -> Together | None: ...

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


class Scores:
    """Requests for scores that are computed together, in the place of one: each is told its own."""

    def __init__(self, jobs: list[Job], requests: list[ScoreRequest]) -> None:
        self.request = requests
        self.events: Iterator[Any] | None = None
        self._jobs = dict(enumerate(jobs))

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for a score any more."""
        return all(job.cancelled for job in self._jobs.values())

    def put(self, event: Any) -> None:
        """A score, with its place, for the one who asked; anything else for all who wait."""
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

    def __init__(self, load: Callable[[], Answering]) -> None:
        self._load = load
        self._arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: dict[str, deque[Job]] = {}
        self._running: deque[Job | Scores] = deque()
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
        together = engine.continuous()
        crowd = None if together is None else Crowd(together)
        self._loaded.put(engine.info)
        while True:
            self._take_in(crowd)
            for _ in range(len(self._running)):
                job = self._running.popleft()
                if advance(engine, job):
                    self._running.append(job)
            if crowd is not None:
                crowd.advance()

    def _take_in(self, crowd: "Crowd | None") -> None:
        """Begin what has arrived, waiting for it if there is nothing to do."""
        if not (self._running or self._waiting or (crowd and crowd.jobs)):
            self._queue(self._arrived.get())
        while not self._arrived.empty():
            self._queue(self._arrived.get())
        while self._waiting:
            client, jobs = next(iter(self._waiting.items()))
            if not self._begin(jobs[0], crowd, alone=len(jobs) == 1):
                return
            jobs.popleft()
            del self._waiting[client]
            if jobs:
                self._waiting[client] = jobs  # behind the other clients

    def _begin(self, job: Job, crowd: "Crowd | None", *, alone: bool) -> bool:
        """Begin a request if there is room. `alone`: its client has no other that waits."""
        if isinstance(job.request, ScoreRequest):
            fits = len(self._running) < AT_ONCE
            if fits:
                self._running.append(self._scores(job, job.request))
            return fits
        if crowd is None:
            fits = len(self._running) < AT_ONCE
        else:
            # Beside the crowd a stream takes a step of its own: not for a client of many.
            fits = alone and not self._running and not crowd.has(job.client)
            if not fits:
                return crowd.take(job, job.request)
        if fits:
            self._running.append(job)
        return fits

    def _scores(self, job: Job, request: ScoreRequest) -> Scores:
        """A request with others like it, which wait no longer; `job` itself still does."""
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


class Crowd:
    """The requests that decode together: their events go to their jobs."""

    def __init__(self, together: Together) -> None:
        self.jobs: dict[int, Job] = {}
        self._together = together
        self._numbers = count()
        self._choices: dict[int, int] = {}

    def has(self, client: str) -> bool:
        """Whether a request of that client is here."""
        return any(job.client == client for job in self.jobs.values())

    def take(self, job: Job, request: Request) -> bool:
        """Let a request join; False where there is no room. What is wrong with it, it is told."""
        if not self._together.has_room(request):
            return False
        position = next(self._numbers)
        try:
            self._together.add(position, request)
        except TuluError as error:
            job.put(error)
            return True
        self.jobs[position] = job
        self._choices[position] = request.sampling.n
        return True

    def advance(self) -> None:
        """Move all on by a token each."""
        dropped = [number for number, job in self.jobs.items() if job.cancelled]
        for position in dropped:
            self._together.drop(position)
            self._end(position, END)
        if not self.jobs:
            if dropped:
                self._together.clear()  # no step will come in which they leave
            return
        try:
            for position, event in self._together.advance():
                self._pass_on(position, event)
        except Exception as error:  # noqa: BLE001 (the engine must live for the next)
            self._together.clear()
            for position in list(self.jobs):
                self._end(position, as_ours(error))

    def _pass_on(self, position: int, event: Text | Done) -> None:
        self.jobs[position].put(event)
        if isinstance(event, Done):
            self._choices[position] -= 1
            if not self._choices[position]:
                self._end(position, END)

    def _end(self, position: int, last: Any) -> None:
        self._choices.pop(position)
        self.jobs.pop(position).put(last)


def begin(engine: Answering, job: Job | Scores) -> Iterator[Any]:
    """The events of a request, or the scores of several."""
    if isinstance(job, Scores):
        return engine.score(job.request)
    assert isinstance(job.request, Request), "scores are begun together"
    return engine.stream(job.request)


def advance(engine: Answering, job: Job | Scores) -> bool:
    """Move one request on by an event; whether there is more to come of it."""
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
    """What a client is told of an error."""
    if isinstance(error, TuluError):
        return error
    return EngineError(f"The engine failed: {type(error).__name__}: {error}.")
