"""Requests that decode together: they join between two steps, and leave when they end."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from tulu_cli.core import Completion, Done, Request, Text
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import bounded
from tulu_cli.engines.transformers.cache import is_plain, merge, new_cache
from tulu_cli.engines.transformers.decode import (
    BatchRow,
    Decoder,
    Padding,
    RowMaker,
    sample,
    translated,
)
from tulu_cli.errors import DoesNotFit, TuluError

Prompts = list[tuple[int, ...]]


@dataclass
class RunningRows:
    """Rows that are being decoded. `logits`, (rows, vocabulary), are for the next tokens."""

    rows: list[BatchRow]
    logits: torch.Tensor
    cache: Any
    padding: Padding

    def take_in(self, other: "RunningRows") -> None:
        """Add the rows of another batch, at the cost of a copy of both caches."""
        unused = self.padding.unused()
        merge(self.cache, other.cache, unused)
        self.padding.merge(other.padding, unused)
        self.logits = torch.cat([self.logits, other.logits])
        self.rows = self.rows + other.rows

    def keep(self, indices: list[int]) -> None:
        """Keep only the rows at these indices."""
        chosen = torch.tensor(indices, device=self.logits.device)
        self.cache.batch_select_indices(chosen)
        self.padding.select(chosen)
        self.logits = self.logits[chosen]
        self.rows = [self.rows[i] for i in indices]


class ContinuousBatch:
    """Decode at most `max_rows` choices of many requests, one step of all at a time.

    Prompts that arrive between two steps are computed together, a chunk before each step, so that a
    long one delays nobody for longer than a chunk.

    It is our own because transformers' ContinuousBatchingManager (5.19) takes only temperature,
    top-k and top-p for each request: no min-p, repetition penalty, grammar or seed.
    """

    def __init__(
        self, decoder: Decoder, maker: RowMaker, max_model_len: int, max_rows: int
    ) -> None:
        self._decoder = decoder
        self._maker = maker
        self._max_model_len = max_model_len
        self._max_rows = max_rows
        self._running: RunningRows | None = None
        self._waiting: list[tuple[BatchRow, tuple[int, ...]]] = []
        self._joining: Iterator[RunningRows | None] | None = None
        self._joining_rows = 0
        self._dropped: set[int] = set()
        self._failures: dict[int, TuluError] = {}

    @property
    def free(self) -> int:
        """The number of choices that can still join."""
        running = len(self._running.rows) if self._running else 0
        return self._max_rows - running - self._joining_rows - len(self._waiting)

    def has_slot(self, request: Request) -> bool:
        """Return True if `request` can join now; one with many choices needs an empty batch."""
        if self.free == self._max_rows:
            return True
        mergeable = self._running is None or is_plain(self._running.cache)
        return mergeable and request.sampling.n <= self.free

    def add(self, position: int, request: Request) -> None:
        """Let a request join at the next step, under a `position` that no other one has.

        Raise PromptTooLong, or BadInput for a constraint that is not valid, or EngineError.
        """
        request = bounded(request, self._max_model_len)
        with translated():
            rows = self._maker.make(position, request, time.perf_counter())
        self._waiting += [(row, request.prompt_token_ids) for row in rows]

    def drop(self, position: int) -> None:
        """Cancel a request; it has no more events."""
        self._waiting = [item for item in self._waiting if item[0].position != position]
        self._dropped.add(position)
        self._failures.pop(position, None)

    def clear(self) -> None:
        """Drop everything, as after a failure in the middle of a step."""
        self._running = self._joining = None
        self._waiting, self._joining_rows = [], 0
        self._dropped.clear()
        self._failures.clear()

    def advance(self) -> Iterator[tuple[int, Text | Done | TuluError]]:
        """Take one step: a chunk of joining prompts, and a token of each running choice.

        A request of which a choice has failed ends with its error, once its other choices have
        ended. Raise DoesNotFit or EngineError where the step itself fails; then `clear`, because
        no running request can continue.
        """
        with translated():
            self._prefill_some()
            self._leave()
            if self._running is not None:
                yield from self._token_each(self._running)

    def _prefill_some(self) -> None:
        if self._joining is None and self._waiting:
            rows, prompts = map(list, zip(*self._waiting, strict=True))
            self._waiting, self._joining_rows = [], len(rows)
            self._joining = self._prefill(rows, prompts)
        if self._joining is None or (joined := next(self._joining)) is None:
            return
        self._joining, self._joining_rows = None, 0
        if self._running is None:
            self._running = joined
        else:
            self._running.take_in(joined)

    def _prefill(self, rows: list[BatchRow], prompts: Prompts) -> Iterator[RunningRows | None]:
        padding = Padding.of(prompts, self._decoder.device)
        longest = max(map(len, prompts))
        padded = [(0,) * (longest - len(ids)) + ids for ids in prompts]
        cache = new_cache(self._maker.model.config)
        adapters = [row.adapter for row in rows]
        for end, logits in self._decoder.prefill(padded, cache, 0, padding, adapters=adapters):
            yield RunningRows(rows, logits, cache, padding) if end == longest else None

    def _token_each(self, running: RunningRows) -> Iterator[tuple[int, Text | Done | TuluError]]:
        rows = running.rows
        for row, event in sample(rows, running.logits):
            yield row.position, event
        self._failures |= {row.position: row.failure for row in rows if row.failure is not None}
        alive = [i for i, row in enumerate(rows) if not row.has_ended]
        for position in self._failures.keys() - {rows[i].position for i in alive}:
            yield position, self._failures.pop(position)
        if not alive:
            self._running = None
            return
        if len(alive) < len(rows):
            running.keep(alive)
        running.logits = self._decoder.step(running.rows, running.cache, running.padding)

    def _leave(self) -> None:
        """Remove the rows of dropped requests."""
        running = self._running
        if running is None or not self._dropped:
            return
        alive = [i for i, row in enumerate(running.rows) if row.position not in self._dropped]
        if self._joining is None:
            self._dropped.clear()
        if not alive:
            self._running = None
        elif len(alive) < len(running.rows):
            running.keep(alive)


BatchAnswer = tuple[int, list[Completion] | TuluError]

# Of so many requests those of like length are begun together: less padding.
_LOOK_AHEAD = 128
# A join copies the cache of all rows, so it waits until so many places are free.
_GATHERED = 8


class BatchRunner:
    """Answers requests as they end; runs fewer at a time after memory ran out."""

    def __init__(self, batch: ContinuousBatch) -> None:
        self._batch = batch
        self._most = batch.free
        self._queue: deque[tuple[int, Request]] = deque()
        self._running: dict[int, Request] = {}
        self._events: dict[int, list[Text | Done]] = {}

    def run(self, requests: Iterable[Request]) -> Iterator[BatchAnswer]:
        """Yield each request's position with its choices, or with the error that ended it."""
        numbered = enumerate(requests)
        while True:
            yield from self._admit(numbered)
            if not self._running:
                return
            yield from self._advance()

    def _admit(self, numbered: Iterator[tuple[int, Request]]) -> Iterator[BatchAnswer]:
        if self._running and self._batch.free < _GATHERED:
            return
        while item := self._next(numbered):
            position, request = item
            full = len(self._running) >= self._most or not self._batch.has_slot(request)
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

    def _advance(self) -> Iterator[BatchAnswer]:
        try:
            events = list(self._batch.advance())
        except DoesNotFit as error:
            yield from self._with_fewer(error)
            return
        except TuluError as error:
            yield from self._fail(error)
            return
        for position, event in events:
            if isinstance(event, TuluError):
                del self._running[position]
                self._events.pop(position, None)
                yield position, event
                continue
            seen = self._events.setdefault(position, [])
            seen.append(event)
            if isinstance(event, Done):
                choices = sum(isinstance(one, Done) for one in seen)
                if choices == self._running[position].sampling.n:
                    del self._running[position], self._events[position]
                    yield position, collect(seen)

    def _with_fewer(self, error: DoesNotFit) -> Iterator[BatchAnswer]:
        """Begin the running requests again, half as many at a time."""
        if len(self._running) == 1:
            yield from self._fail(error)
            return
        self._most = len(self._running) // 2
        self._queue.extendleft(self._running.items())
        self._forget()

    def _fail(self, error: TuluError) -> Iterator[BatchAnswer]:
        failed = list(self._running)
        self._forget()
        for position in failed:
            yield position, error

    def _forget(self) -> None:
        self._batch.clear()
        self._running.clear()
        self._events.clear()
