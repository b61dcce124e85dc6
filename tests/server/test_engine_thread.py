"""Turns: who comes when, who is dropped, and what one request's failure does to others."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tulu_cli.core import Done, EngineInfo, Request, Sampling, Score, ScoreRequest, Text
from tulu_cli.errors import EngineError, TuluError
from tulu_cli.server.engine_thread import AT_ONCE, END, EngineThread, Job

INFO = EngineInfo("counter", "m", None, "cpu", "none", 9, {})


class Counter:
    """An engine whose answers are numbered; a gate holds it until the test has asked for all."""

    info = INFO

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.closed: list[int] = []
        self.thread = threading.current_thread()

    def stream(self, request: Request) -> Iterator[Text | Done]:
        (number,) = request.prompt_token_ids
        assert threading.current_thread() is self.thread, "an engine belongs to one thread"
        try:
            for _ in range(3):
                assert self.gate.wait(60)
                if number == 13:
                    raise EngineError("Unlucky.")
                if number == 14:
                    raise ZeroDivisionError("a bug")
                yield Text(str(number))
        finally:
            self.closed.append(number)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        raise NotImplementedError


@pytest.fixture
def engines() -> list[Counter]:
    return []


@pytest.fixture
def thread(engines: list[Counter]) -> EngineThread:
    def load() -> Counter:
        engines.append(Counter())
        return engines[0]

    thread = EngineThread(load)
    assert thread.start() == INFO
    return thread


def asked(thread: EngineThread, seen: "queue.Queue[Any]", number: int, client: str) -> Job:
    def put(event: Any) -> None:
        seen.put((number, event))

    job = Job(Request((number,), Sampling()), client, put)
    thread.submit(job)
    return job


def order_of_ends(seen: "queue.Queue[Any]", count: int) -> list[int]:
    ends: list[int] = []
    while len(ends) < count:
        number, event = seen.get(timeout=60)
        if not isinstance(event, Text):
            ends.append(number)
    return ends


def test_requests_take_turns_event_by_event(thread: EngineThread, engines: list[Counter]) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in range(2):
        asked(thread, seen, number, str(number))
    engines[0].gate.set()
    events = [seen.get(timeout=60) for _ in range(8)]
    first = [number for number, event in events if isinstance(event, Text)]
    # The first may have begun before the second had come.
    assert sorted(first[1:5]) == [0, 0, 1, 1]


def test_a_client_with_many_requests_delays_others_by_one(
    thread: EngineThread, engines: list[Counter]
) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in range(100, 100 + 5 * AT_ONCE):
        asked(thread, seen, number, "greedy")
    asked(thread, seen, 1, "modest")
    engines[0].gate.set()
    ends = order_of_ends(seen, 5 * AT_ONCE + 1)
    assert ends.index(1) <= AT_ONCE + 1


def test_a_cancelled_request_ends_and_is_closed(
    thread: EngineThread, engines: list[Counter]
) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    jobs = [asked(thread, seen, number, str(number)) for number in range(AT_ONCE + 1)]
    jobs[0].cancelled = jobs[-1].cancelled = True
    engines[0].gate.set()
    events = [seen.get(timeout=60) for _ in range(3 * (AT_ONCE - 1) + AT_ONCE + 1)]
    shown = {number for number, event in events if isinstance(event, Text)}
    assert AT_ONCE not in shown, "the last one never began"
    assert sum(event is END for _, event in events) + len(shown & {0}) >= AT_ONCE + 1
    assert 0 in engines[0].closed or 0 not in shown


def test_a_failure_is_one_requests_own(thread: EngineThread, engines: list[Counter]) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in (13, 14, 15):
        asked(thread, seen, number, str(number))
    engines[0].gate.set()
    last: dict[int, Any] = {}
    while len([event for event in last.values() if not isinstance(event, Text)]) < 3:
        number, event = seen.get(timeout=60)
        last[number] = event
    assert str(last[13]) == "Unlucky."
    assert isinstance(last[14], EngineError)
    assert "ZeroDivisionError: a bug" in str(last[14])
    assert last[15] is END
    assert thread.is_alive


def test_what_loading_raises_is_raised() -> None:
    def load() -> Counter:
        raise EngineError("No weights.")

    thread = EngineThread(load)
    with pytest.raises(EngineError, match="No weights"):
        thread.start()
