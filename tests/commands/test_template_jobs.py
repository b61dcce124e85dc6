"""Work in several processes: the order stays, errors arrive, and no process is left behind."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import sleep

import pytest

from tests.program import DEADLINE_SECONDS, eventually
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.parallel import in_order


def doubling() -> Callable[[int], int]:
    return lambda number: number * 2


def naming() -> Callable[[int], int]:
    return lambda _number: os.getpid()


def meeting(folder: Path) -> Callable[[int], int]:
    """Work that goes on only once another process has work too."""

    def work(_number: int) -> int:
        (folder / str(os.getpid())).touch()
        assert eventually(lambda: len(list(folder.iterdir())) == 2)
        return os.getpid()

    return work


def refusing(bad: int) -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == bad:
            raise BadInput(f"{number} is bad.")
        return number

    return work


def never() -> Callable[[int], int]:
    raise BadInput("It cannot begin.")


def dying() -> Callable[[int], None]:
    return lambda _number: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_order_stays(jobs: int) -> None:
    assert list(in_order(doubling, range(23), jobs)) == list(range(0, 46, 2))
    assert list(in_order(doubling, [], jobs)) == []


def test_one_job_is_this_process_and_more_are_others(tmp_path: Path) -> None:
    assert set(in_order(naming, range(3), 1)) == {os.getpid()}
    others = set(in_order(partial(meeting, tmp_path), range(10), 2))
    assert len(others) == 2
    assert os.getpid() not in others


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_comes_after_what_is_before_it(jobs: int) -> None:
    results = in_order(partial(refusing, 7), range(20), jobs)
    seen: list[int] = []
    with pytest.raises(BadInput, match=r"^7 is bad\.$"):
        seen.extend(iter(results.__next__, None))
    assert seen == list(range(7))


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_that_cannot_begin(jobs: int) -> None:
    with pytest.raises(BadInput, match="cannot begin"):
        list(in_order(never, range(3), jobs))


def test_a_worker_that_is_killed_is_a_sentence() -> None:
    with pytest.raises(TuluError, match="worker process has died"):
        list(in_order(dying, range(3), 2))


def test_no_more_than_needed_is_read_ahead() -> None:
    taken = []

    def chunks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(doubling, chunks(), 2)
    next(results)
    assert len(taken) <= 4
    results.close()  # type: ignore[attr-defined]


def test_workers_end_with_the_work() -> None:
    results = in_order(naming, range(100), 2)
    workers = {next(results), next(results)}
    results.close()  # type: ignore[attr-defined]

    def gone() -> bool:
        return not any(os.path.exists(f"/proc/{worker}") for worker in workers)

    assert eventually(gone)


def slow_behind_the_first() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number:
            sleep(10 * DEADLINE_SECONDS)
        return number

    return work


def test_work_that_nobody_waits_for_is_ended() -> None:
    results = in_order(slow_behind_the_first, range(4), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]


def large() -> Callable[[int], bytes]:
    return lambda _number: b"x" * 2**20


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_a_result_that_is_being_handed_over_holds_nothing_up(taken: int) -> None:
    results = in_order(large, range(100), 2)
    for _ in range(taken):
        next(results)
    results.close()  # type: ignore[attr-defined]
