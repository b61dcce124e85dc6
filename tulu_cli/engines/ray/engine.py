"""A worker on Ray as an engine: requests go to its process, answers come from there."""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from tulu_cli.core import Completion, Done, EngineInfo, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import streamed
from tulu_cli.engines.base import first_line
from tulu_cli.engines.ray.actor import LEAST_WAITING, Exchanged, Verb
from tulu_cli.errors import EngineDied, TuluError

# Without a word for so long, a worker is given up: its machine may be cut off.
_SILENT_SECONDS = 60.0
# Requests are gathered for so long before they are sent: the first ones must not wait for others
# that take long to come.
_GATHER_SECONDS = 0.02
_LOOK_SECONDS = 0.2  # how often a thread that waits for an answer sees that it need not any more


class Silent(EngineDied):
    """A worker has not answered within the time."""


class Worker:
    """The process of one worker. `made` makes its actor, `name` is what people call it.

    Raise EngineDied where the cluster has been left. Once `is_left` is set, no thread waits for an
    answer any more.
    """

    def __init__(self, made: Any, name: str, is_left: threading.Event) -> None:
        self.name = name
        self._is_left = is_left
        with translated(name):
            self._actor = made.remote()

    def ask(self, method: str, *given: Any, within: float = math.inf, **named: Any) -> Any:
        """Return what a method of the actor returns.

        Raise EngineDied if the worker has ended, and Silent if it does not answer within so many
        seconds.
        """
        with translated(self.name):
            asked = getattr(self._actor, method).remote(*given, **named)
        return answer_of(asked, self.name, self._is_left, within)

    def end(self) -> None:
        """End the process, whatever it does; any thread may call this."""
        import ray

        with suppress(Exception):  # Ray raises what it likes once it is shut down
            ray.kill(self._actor)


class RayEngine:
    """An engine in a worker's process. `close` ends that process."""

    def __init__(self, worker: Worker, info: EngineInfo) -> None:
        self.info = info
        self._worker = worker
        self._numbers = count()

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield each choice as one piece and its end. Raise its error if it has one."""
        return streamed(self.batch((request,)))

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the worker's engine full; yield answers as they end. Raise EngineDied with it."""
        return self._many("batch", requests)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Keep the worker's engine full; yield scores as they end. Raise EngineDied with it."""
        return self._many("score", requests)

    def close(self) -> None:
        """End the worker's process; any thread may do so, and a batch that runs ends with it."""
        self._worker.end()

    def _many(self, verb: Verb, requests: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        number = next(self._numbers)
        remaining = iter(requests)
        wanted, is_last = LEAST_WAITING, False
        while True:
            some: list[Any] = []
            if not is_last:
                some, is_last = _gathered(remaining, wanted)
            told = self._worker.ask(
                "exchange", number, verb, some, is_last=is_last, within=_SILENT_SECONDS
            )
            assert isinstance(told, Exchanged), "a worker tells what it has exchanged"
            yield from told.answers
            if told.failure is not None:
                raise EngineDied(f"{self._worker.name}: {told.failure}")
            if told.is_over:
                return
            wanted = told.wanted


def answer_of(asked: Any, name: str, is_left: threading.Event, within: float = math.inf) -> Any:
    """Return what Ray's object `asked` becomes, which is asked of `name`.

    Raise EngineDied if that has ended, or once nobody waits any more, and Silent if it does not
    answer within so many seconds.
    """
    import ray

    until = time.monotonic() + within
    with translated(name):
        while not ray.wait([asked], timeout=_LOOK_SECONDS)[0]:
            if is_left.is_set():
                raise EngineDied(f"{name} is not waited for any more.")
            if time.monotonic() > until:
                raise Silent(f"{name} has said nothing for {within:.0f} seconds.")
        return ray.get(asked)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise EngineDied for what Ray raises, also because the cluster has been left meanwhile."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise EngineDied(f"{name} {_why(error)}.") from error


def _why(error: Exception) -> str:
    """Return what has become of a worker, of what Ray says of it over many lines."""
    said = str(error)
    if "No module named" in said or "failed to import" in said:
        return "cannot begin: its machine has not this release of tulu"
    if type(error).__name__ == "OutOfMemoryError" or "node running low on memory" in said:
        return "was ended by Ray, as its machine was low on memory"
    if "node has died" in said or "node died" in said:
        return "is gone, and so is its machine"
    if type(error).__name__ == "ActorUnavailableError":
        return "does not answer any more"
    if type(error).__name__ == "ActorDiedError":
        return "has ended"
    return f"has failed: {first_line(error)}"


def _gathered(requests: Iterator[Any], most: int) -> tuple[list[Any], bool]:
    """Return the next requests, at most so many, and whether those were the last."""
    until = time.monotonic() + _GATHER_SECONDS
    some: list[Any] = []
    while len(some) < most and (not some or time.monotonic() < until):
        try:
            some.append(next(requests))
        except StopIteration:
            return some, True
    return some, False
