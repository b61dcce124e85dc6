"""Rows through an engine that is kept full: each is answered once, and a bad one stops no other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, Protocol, TypeVar

from tulu_cli.batch.records import Answer
from tulu_cli.batch.rows import BadRow, Row
from tulu_cli.errors import EngineDied, TuluError

Asked = TypeVar("Asked")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Emit = Callable[[Row | BadRow, Answer], None]


class BatchEngine(Protocol[Asked_contra]):
    """The part of an engine that a batch needs."""

    def batch(self, requests: Iterable[Asked_contra]) -> Iterator[tuple[int, Answer]]: ...


@dataclass(frozen=True, slots=True)
class Feed(Generic[Asked]):
    """Answers rows with an engine. `request_of` makes a row's request, or raises a TuluError.

    With a `window`, so many rows are answered before the next are read.
    """

    engine: BatchEngine[Asked]
    request_of: Callable[[Row], Asked]
    window: int | None = None

    def answer(
        self, rows: Iterable[Row | BadRow], emit: Emit, expect: Callable[[int], None]
    ) -> None:
        """Give each row's answer to `emit`, as they end. `expect` hears of each line that is begun.

        Raises EngineDied, as no row after it could be answered, and what `emit` raises.
        """
        for some in windows(rows, self.window):
            self._answer(some, emit, expect)

    def _answer(
        self, rows: Iterable[Row | BadRow], emit: Emit, expect: Callable[[int], None]
    ) -> None:
        waiting: dict[int, Row] = {}

        def requests() -> Iterator[Asked]:
            position = 0
            for row in rows:
                expect(row.line)
                request = self._request(row)
                if isinstance(request, TuluError):
                    emit(row, request)
                elif isinstance(row, Row):
                    waiting[position] = row
                    position += 1
                    yield request

        with closing(self.engine.batch(requests())) as answers:  # type: ignore[type-var]
            for position, answer in answers:
                if isinstance(answer, EngineDied):
                    raise answer
                emit(waiting.pop(position), answer)

    def _request(self, row: Row | BadRow) -> Asked | TuluError:
        if isinstance(row, BadRow):
            return row.error
        try:
            return self.request_of(row)
        except TuluError as error:
            return error


def windows(rows: Iterable[Row | BadRow], size: int | None) -> Iterator[Iterable[Row | BadRow]]:
    """Yield the rows in groups of `size`, each read as it is used; None is one group of all."""
    if size is None:
        yield rows
        return
    remaining = iter(rows)
    for first in remaining:
        yield chain((first,), islice(remaining, size - 1))


class InOrder:
    """Holds answers back until those of all lines before them are there."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._begun: deque[int] = deque()
        self._held: dict[int, tuple[Row | BadRow, Answer]] = {}

    def expect(self, line: int) -> None:
        """Note that a line has been begun; they are begun in order."""
        self._begun.append(line)

    def take(self, row: Row | BadRow, answer: Answer) -> None:
        """Take an answer, and pass on every answer whose turn has come."""
        self._held[row.line] = row, answer
        while self._begun and self._begun[0] in self._held:
            self._emit(*self._held.pop(self._begun.popleft()))
