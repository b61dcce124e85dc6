"""A list of requests through a continuous batch, which is kept full to the end."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from tulu_cli.core import Completion, Done, Request, Text
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.decoding.continuous import ContinuousBatch
from tulu_cli.errors import DoesNotFit, TuluError

Answer = tuple[int, list[Completion] | TuluError]

# Of so many requests those of like length are begun together: less padding.
_LOOK_AHEAD = 128
# A join copies the cache of all rows, so it waits until so many places are free.
_GATHERED = 8


class Answers:
    """Answers requests, each when it has ended. After memory ran out fewer run at a time."""

    def __init__(self, batch: ContinuousBatch) -> None:
        self._batch = batch
        self._most = batch.free
        self._queue: deque[tuple[int, Request]] = deque()
        self._running: dict[int, Request] = {}
        self._events: dict[int, list[Text | Done]] = {}

    def run(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Each request's position with its choices, or with the error that it ended with."""
        numbered = enumerate(requests)
        while True:
            yield from self._admit(numbered)
            if not self._running:
                return
            yield from self._advance()

    def _admit(self, numbered: Iterator[tuple[int, Request]]) -> Iterator[Answer]:
        if self._running and self._batch.free < _GATHERED:
            return
        while item := self._next(numbered):
            position, request = item
            full = len(self._running) >= self._most or not self._batch.has_room(request)
            if self._running and full:
                return
            self._queue.popleft()
            try:
                self._batch.add(position, request)
            except TuluError as error:
                yield position, error
            else:
                self._running[position] = request

    def _next(self, numbered: Iterator[tuple[int, Request]]) -> tuple[int, Request] | None:
        if not self._queue:
            some = islice(numbered, _LOOK_AHEAD)
            self._queue.extend(sorted(some, key=lambda item: len(item[1].prompt_token_ids)))
        return self._queue[0] if self._queue else None

    def _advance(self) -> Iterator[Answer]:
        try:
            events = list(self._batch.advance())
        except DoesNotFit as error:
            yield from self._with_fewer(error)
            return
        except TuluError as error:
            yield from self._fail(error)
            return
        for position, event in events:
            seen = self._events.setdefault(position, [])
            seen.append(event)
            if isinstance(event, Done):
                choices = sum(isinstance(one, Done) for one in seen)
                if choices == self._running[position].sampling.n:
                    del self._running[position], self._events[position]
                    yield position, collect(seen)

    def _with_fewer(self, error: DoesNotFit) -> Iterator[Answer]:
        """Memory ran out: begin those that ran again, half as many at a time."""
        if len(self._running) == 1:
            yield from self._fail(error)
            return
        self._most = len(self._running) // 2
        self._queue.extendleft(self._running.items())
        self._forget()

    def _fail(self, error: TuluError) -> Iterator[Answer]:
        failed = list(self._running)
        self._forget()
        for position in failed:
            yield position, error

    def _forget(self) -> None:
        self._batch.clear()
        self._running.clear()
        self._events.clear()
