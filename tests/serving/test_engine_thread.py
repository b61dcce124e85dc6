"""Turns: who comes when, who is dropped, and what one request's failure does to others."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS
from tulu_cli.core import (
    Done,
    EngineInfo,
    Request,
    Sampling,
    Score,
    ScoreRequest,
    Text,
    Timings,
    TokenLogprob,
    Usage,
)
from tulu_cli.errors import EngineError, PromptTooLong, TuluError
from tulu_cli.serving.engine_thread import AT_ONCE, END, SCORED_AT_ONCE, EngineThread, Job

INFO = EngineInfo("counter", "m", None, "cpu", "none", 9, {})


class Counter:
    """An engine whose answers are numbered; a gate holds it until the test has asked for all."""

    info = INFO

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.closed: list[int] = []
        self.scored: list[int] = []
        self.thread = threading.current_thread()

    def stream(self, request: Request) -> Iterator[Text | Done]:
        (number,) = request.prompt_token_ids
        assert threading.current_thread() is self.thread, "an engine belongs to one thread"
        try:
            self.begun.set()
            for _ in range(3):
                assert self.gate.wait(DEADLINE_SECONDS)
                if number == 13:
                    raise EngineError("Unlucky.")
                if number == 14:
                    raise ZeroDivisionError("a bug")
                yield Text(str(number))
        finally:
            self.closed.append(number)

    def batch(self, requests: Iterable[Request]) -> Iterator[Any]:
        raise NotImplementedError("requests come one by one")

    def close(self) -> None:
        pass

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        asked = list(requests)
        assert self.gate.wait(DEADLINE_SECONDS)
        self.scored.append(len(asked))
        for position, request in reversed(list(enumerate(asked))):
            number = request.token_ids[0]
            if number == 13:
                yield position, PromptTooLong("Unlucky.")
                continue
            if number == 14:
                raise ZeroDivisionError("a bug")
            yield position, Score((TokenLogprob(number, -1.0),))


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


def scored(thread: EngineThread, seen: "queue.Queue[Any]", number: int, client: str) -> Job:
    """Ask for the score of one token."""
    job = Job(ScoreRequest((number, number), 1), client, lambda event: seen.put((number, event)))
    thread.submit(job)
    return job


def order_of_ends(seen: "queue.Queue[Any]", count: int) -> list[int]:
    ends: list[int] = []
    while len(ends) < count:
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        if not isinstance(event, Text):
            ends.append(number)
    return ends


def ends_of(seen: "queue.Queue[Any]", *numbers: int) -> dict[int, Any]:
    """Return the ends of these requests, END or an error, in the order in which they came."""
    ends: dict[int, Any] = {}
    while not set(numbers) <= set(ends):
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        if not isinstance(event, (Text, Done, tuple)):
            ends[number] = event
    return ends


def test_requests_take_turns_event_by_event(thread: EngineThread, engines: list[Counter]) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in range(2):
        asked(thread, seen, number, str(number))
    engines[0].gate.set()
    events = [seen.get(timeout=DEADLINE_SECONDS) for _ in range(8)]
    order = [number for number, event in events if isinstance(event, Text)]
    # The first may have begun before the second had come.
    assert order in ([0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 1, 1])


def test_scores_that_wait_are_computed_together_and_each_gets_its_own(
    thread: EngineThread, engines: list[Counter]
) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 1, "one")  # begins, and holds the thread until the gate opens
    numbers = range(100, 102 + SCORED_AT_ONCE)
    for number in numbers:
        scored(thread, seen, number, f"client {number % 3}")
    asked(thread, seen, 2, "client 1")
    engines[0].gate.set()
    told: dict[int, list[Any]] = {}
    while sum(events[-1] is END for events in told.values()) < len(numbers) + 2:
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        told.setdefault(number, []).append(event)
    for number in numbers:
        (_, score), end = told[number]
        assert (score.tokens[0].token_id, end) == (number, END)
    assert engines[0].scored == [SCORED_AT_ONCE, 2]
    assert told[2][:-1] == [Text("2")] * 3


def test_a_score_that_fails_fails_alone_and_a_bug_for_all_that_wait(
    thread: EngineThread, engines: list[Counter]
) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 1, "one")
    # The last is computed first.
    for number in (5, 14, 13, 6):
        scored(thread, seen, number, "client")
    engines[0].gate.set()
    told: dict[int, list[Any]] = {}
    while len(told) < 5 or not all(len(told[number]) > 1 for number in (1, 6, 13)):
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        told.setdefault(number, []).append(event)
    assert told[6][1] is END
    assert isinstance(told[13][0][1], PromptTooLong)
    for number in (5, 14):
        assert isinstance(told[number][0], EngineError)
        assert "ZeroDivisionError" in str(told[number][0])
    scored(thread, seen, 7, "client")
    assert ends_of(seen, 7)[7] is END, "the next is answered"


def test_scores_that_nobody_waits_for_are_not_computed(
    thread: EngineThread, engines: list[Counter]
) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 1, "one")
    jobs = [scored(thread, seen, number, "client") for number in (5, 6)]
    for job in jobs:
        job.cancelled = True
    engines[0].gate.set()
    ends = ends_of(seen, 1, 5, 6)
    assert (ends[5], ends[6]) == (END, END)
    assert engines[0].scored == []


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
    engine = engines[0]
    seen: queue.Queue[Any] = queue.Queue()
    jobs = [asked(thread, seen, 0, "0")]
    assert engine.begun.wait(DEADLINE_SECONDS)  # and is held by the gate
    jobs += [asked(thread, seen, number, str(number)) for number in range(1, AT_ONCE + 1)]
    jobs[0].cancelled = jobs[-1].cancelled = True
    engine.gate.set()
    told: dict[int, list[Any]] = {}
    while sum(events[-1] is END for events in told.values()) <= AT_ONCE:
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        told.setdefault(number, []).append(event)
    assert told[0] == [Text("0"), END], "one event was on its way"
    assert told[AT_ONCE] == [END]
    for number in range(1, AT_ONCE):
        assert told[number] == [Text(str(number))] * 3 + [END]
    assert sorted(engine.closed) == [*range(AT_ONCE)], "the last one never began"


def test_a_failure_is_one_requests_own(thread: EngineThread, engines: list[Counter]) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in (13, 14, 15):
        asked(thread, seen, number, str(number))
    engines[0].gate.set()
    last: dict[int, Any] = {}
    while len([event for event in last.values() if not isinstance(event, Text)]) < 3:
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        last[number] = event
    assert str(last[13]) == "Unlucky."
    assert isinstance(last[14], EngineError)
    assert "ZeroDivisionError: a bug" in str(last[14])
    assert last[15] is END
    assert thread.is_alive


class Choir(Counter):
    """An engine whose requests go on together, at most three at a time; it keeps a diary."""

    def __init__(self) -> None:
        super().__init__()
        self.singing: dict[int, list[Text | Done]] = {}
        self.most = 0
        self.asked: list[int] = []

    def continuous(self) -> Any:
        return self

    def has_slot(self, _request: Request) -> bool:
        return len(self.singing) < 3

    def add(self, position: int, request: Request) -> None:
        (number,) = request.prompt_token_ids
        if number == 13:
            raise PromptTooLong("Too long.")
        self.asked.append(number)
        usage, timings = Usage(1, 3), Timings(0, 0, 0)
        ends: list[Text | Done] = [
            Done("stop", usage, timings, seed=0, index=index) for index in range(request.sampling.n)
        ]
        self.singing[position] = [*[Text(str(number))] * 3, *ends]
        self.most = max(self.most, len(self.singing))

    def drop(self, position: int) -> None:
        del self.singing[position]

    def clear(self) -> None:
        self.singing.clear()

    def advance(self) -> Iterator[tuple[int, Text | Done | TuluError]]:
        assert threading.current_thread() is self.thread
        assert self.gate.wait(DEADLINE_SECONDS)
        for position, events in list(self.singing.items()):
            event: Text | Done | TuluError = events.pop(0)
            if isinstance(event, Text) and event.text == "14":
                raise ZeroDivisionError("a bug")
            if isinstance(event, Text) and event.text == "15":
                event = EngineError("Hoarse.")
                events.clear()
            if not events:
                del self.singing[position]
            yield position, event


@pytest.fixture
def choir() -> tuple[EngineThread, Choir]:
    engines: list[Choir] = []

    def load() -> Choir:
        engines.append(Choir())
        return engines[0]

    thread = EngineThread(load)
    thread.start()
    return thread, engines[0]


def test_a_client_of_many_is_answered_together_and_lets_others_in(
    choir: tuple[EngineThread, Choir],
) -> None:
    thread, engine = choir
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")  # alone, and held by the gate, until all have come
    for number in range(1, 10):
        asked(thread, seen, number, "many")
    asked(thread, seen, 100, "modest")
    engine.gate.set()
    ends = list(ends_of(seen, *range(10), 100))
    assert engine.most == 3
    assert 0 in engine.closed, "the one that came alone was streamed"
    assert ends.index(100) < ends.index(9)


def test_each_choice_has_its_end_before_the_request_has(
    choir: tuple[EngineThread, Choir],
) -> None:
    thread, engine = choir
    asked(thread, queue.Queue(), 0, "first")
    events: queue.Queue[Any] = queue.Queue()
    job = Job(Request((5,), Sampling(n=2)), "many", events.put)
    other = Job(Request((6,), Sampling()), "many", lambda _event: None)
    thread.submit(job)
    thread.submit(other)
    engine.gate.set()
    told = [events.get(timeout=DEADLINE_SECONDS) for _ in range(6)]
    assert [type(event).__name__ for event in told[:5]] == ["Text"] * 3 + ["Done"] * 2
    assert told[5] is END


def test_what_is_wrong_with_one_is_told_to_that_one(choir: tuple[EngineThread, Choir]) -> None:
    thread, engine = choir
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")
    for number in (13, 7, 8):
        asked(thread, seen, number, "many")
    engine.gate.set()
    last = ends_of(seen, 0, 13, 7, 8)
    assert str(last[13]) == "Too long."
    assert last[7] is END
    assert last[8] is END


def test_one_that_fails_in_the_middle_ends_alone(choir: tuple[EngineThread, Choir]) -> None:
    thread, engine = choir
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")
    for number in (15, 7):
        asked(thread, seen, number, "many")
    engine.gate.set()
    last = ends_of(seen, 15, 7)
    assert str(last[15]) == "Hoarse."
    assert last[7] is END


def test_a_failure_in_the_middle_ends_all_of_them_and_no_later_one(
    choir: tuple[EngineThread, Choir],
) -> None:
    thread, engine = choir
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")
    for number in (14, 7):
        asked(thread, seen, number, "many")
    engine.gate.set()
    failed = ends_of(seen, 14, 7)
    assert all("ZeroDivisionError: a bug" in str(failed[number]) for number in (14, 7))
    for number in (20, 21):
        asked(thread, seen, number, "many")
    later = ends_of(seen, 20, 21)
    assert later[20] is later[21] is END


def test_a_cancelled_one_is_dropped_from_the_others(choir: tuple[EngineThread, Choir]) -> None:
    thread, engine = choir
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")
    jobs = [asked(thread, seen, number, "many") for number in (1, 2, 3)]
    jobs[1].cancelled = True
    engine.gate.set()
    texts = []
    ended: set[int] = set()
    while not {1, 2, 3} <= ended:
        number, event = seen.get(timeout=DEADLINE_SECONDS)
        if isinstance(event, Text):
            texts.append(number)
        if event is END:
            ended.add(number)
    assert 2 not in texts
    assert texts.count(1) == texts.count(3) == 3


class SlowToLeave(Choir):
    """One whose dropped requests take their places until the next step, as the real one's do."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: set[int] = set()

    def drop(self, position: int) -> None:
        self.dropped.add(position)

    def advance(self) -> Iterator[tuple[int, Text | Done | TuluError]]:
        for position in self.dropped & self.singing.keys():
            del self.singing[position]
        self.dropped.clear()
        yield from super().advance()


def test_when_all_have_left_there_is_room_again() -> None:
    engines: list[SlowToLeave] = []

    def load() -> SlowToLeave:
        engines.append(SlowToLeave())
        return engines[0]

    thread = EngineThread(load)
    thread.start()
    seen: queue.Queue[Any] = queue.Queue()
    asked(thread, seen, 0, "first")
    left = [asked(thread, seen, number, "many") for number in (1, 2, 3)]
    for job in left:
        job.cancelled = True
    engines[0].gate.set()
    ends_of(seen, 0, 1, 2, 3)
    for number in (4, 5):
        asked(thread, seen, number, "others")
    later = ends_of(seen, 4, 5)
    assert later[4] is later[5] is END


def test_what_loading_raises_is_raised() -> None:
    def load() -> Counter:
        raise EngineError("No weights.")

    thread = EngineThread(load)
    with pytest.raises(EngineError, match="No weights"):
        thread.start()
