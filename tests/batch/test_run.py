"""Rows through an engine: order, windows, and what one bad row does to the others."""

from collections.abc import Iterable, Iterator

import pytest

from tulu_cli.batch.records import Answer
from tulu_cli.batch.rows import BadRow, Row
from tulu_cli.batch.run import Feed, InOrder, windows
from tulu_cli.core import Completion, Request, Sampling
from tulu_cli.errors import BadInput, EngineDied, EngineError, TuluError

ANSWER: list[Completion] = []


class Engine:
    """Answers groups of `size` backwards; what it is asked by token id 13 fails, 66 kills it."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.most_waiting = 0
        self.is_closed = False

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        waiting: list[tuple[int, int]] = []
        try:
            for position, request in enumerate(requests):
                waiting.append((position, request.prompt_token_ids[0]))
                self.most_waiting = max(self.most_waiting, len(waiting))
                if len(waiting) == self.size:
                    yield from self._answers(waiting)
            yield from self._answers(waiting)
        finally:
            self.is_closed = True

    def _answers(
        self, waiting: list[tuple[int, int]]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        while waiting:
            position, token = waiting.pop()
            failed = {13: EngineError("no"), 66: EngineDied("gone")}.get(token)
            yield position, ANSWER if failed is None else failed


def row(line: int) -> Row | BadRow:
    return BadRow(line, 1, BadInput("bad")) if line % 10 == 5 else Row(line, 1, "x")


def request_of(made: Row) -> Request:
    if made.line % 10 == 7:
        raise BadInput("no such sampling")
    return Request((made.line,), Sampling())


def answered(
    lines: Iterable[int], *, in_order: bool = False, window: int | None = None
) -> list[tuple[int, str]]:
    written: list[tuple[int, str]] = []

    def emit(one: Row | BadRow, answer: Answer) -> None:
        written.append((one.line, "answer" if answer is ANSWER else str(answer)))

    order = InOrder(emit)
    feed = Feed(Engine(), request_of, window)
    if in_order:
        feed.answer(map(row, lines), order.take, order.expect)
    else:
        feed.answer(map(row, lines), emit, lambda _line: None)
    return written


def test_every_row_is_answered_once_and_a_bad_one_stops_no_other() -> None:
    written = dict(answered(range(1, 30)))
    assert len(written) == 29
    bad = {5: "bad", 15: "bad", 25: "bad", 13: "no"}
    bad |= dict.fromkeys((7, 17, 27), "no such sampling")
    assert written == dict.fromkeys(range(1, 30), "answer") | bad


def test_answers_are_written_as_they_come_or_in_order() -> None:
    assert [line for line, _ in answered(range(1, 12))] != sorted(range(1, 12))
    assert [line for line, _ in answered(range(1, 30), in_order=True)] == list(range(1, 30))
    assert [line for line, _ in answered((2, 8, 9, 40), in_order=True)] == [2, 8, 9, 40]


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_a_window_is_finished_before_the_next_is_read(window: int) -> None:
    read: list[int] = []

    def lines() -> Iterator[int]:
        for line in (1, 2, 3, 4, 6, 8):
            read.append(line)
            yield line

    written: list[int] = []

    def emit(one: Row | BadRow, _answer: Answer) -> None:
        assert len(read) - len(written) <= window
        written.append(one.line)

    engine = Engine(size=10)
    Feed(engine, request_of, window).answer(map(row, lines()), emit, lambda _line: None)
    assert sorted(written) == read == [1, 2, 3, 4, 6, 8]
    assert engine.most_waiting == min(window, 6)


def test_windows_of_nothing_are_none() -> None:
    assert list(windows([], 3)) == []


def test_a_dead_engine_ends_the_batch_and_is_no_error_of_a_row() -> None:
    engine = Engine(size=1)
    written: list[int] = []
    with pytest.raises(EngineDied):
        Feed(engine, request_of).answer(
            map(row, (1, 2, 66, 3)), lambda one, _: written.append(one.line), lambda _: None
        )
    assert written == [1, 2]
    assert engine.is_closed


def test_what_emit_raises_closes_the_engine_also_from_inside_the_feed() -> None:
    for line in (1, 5):  # an answered row, and one that no request is made of
        engine = Engine(size=1)

        def refuse(_row: Row | BadRow, _answer: Answer) -> None:
            raise BadInput("enough")

        with pytest.raises(BadInput, match="enough"):
            Feed(engine, request_of).answer(map(row, (line, 2, 3)), refuse, lambda _: None)
        assert engine.is_closed
