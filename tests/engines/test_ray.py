"""A worker on Ray without Ray: what its process does between its driver and its engine."""

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tulu_cli.engines.ray import RayOptions
from tulu_cli.engines.ray.actor import LEAST_WAITING, Call
from tulu_cli.errors import BadInput, EngineDied, NoEngine, TuluError
from tulu_cli.loading.workers import reached
from tulu_cli.machine import Machine
from tulu_cli.protocol.fields import BadField
from tulu_cli.settings import read_settings
from tulu_cli.streams import Streams

REQUESTS = 1000
AT_ONCE = 100  # the requests that an engine takes before it answers one


class Engine:
    """Answers a request with itself, many at once; `answer` may do something else."""

    def __init__(self, answer: Callable[[int], Any] = lambda request: request) -> None:
        self._answer = answer

    def batch(self, requests: Iterable[int]) -> Iterator[tuple[int, Any]]:
        taken: list[tuple[int, int]] = []
        for position, request in enumerate(requests):
            if len(taken) == AT_ONCE:
                first, asked = taken.pop(0)
                yield first, self._answer(asked)
            taken.append((position, request))
        for position, request in taken:
            yield position, self._answer(request)


def exchange_all(engine: Engine) -> tuple[list[tuple[int, Any]], TuluError | None, int]:
    """Give a call all requests, as its driver does: the answers, why it failed, the most held."""
    call = Call(0, "batch")
    threading.Thread(target=call.run, args=(engine,), daemon=True).start()
    source, wanted, is_last = iter(range(REQUESTS)), LEAST_WAITING, False
    answers: list[tuple[int, Any]] = []
    given = most = 0
    while True:
        some = [one for _, one in zip(range(wanted), source, strict=False)]
        given += len(some)
        most = max(most, given - len(answers))
        is_last = given == REQUESTS
        told = pickle.loads(pickle.dumps(call.exchange(some, is_last=is_last)))
        answers += told.answers
        if told.is_over:
            return answers, told.failure, most
        wanted = told.wanted


def test_an_engine_is_given_what_it_takes_and_little_more() -> None:
    answers, failure, most = exchange_all(Engine())
    assert sorted(answers) == [(number, number) for number in range(REQUESTS)]
    assert failure is None
    # All that it takes at once, and what it may take while an exchange is on its way.
    assert AT_ONCE < most <= 4 * AT_ONCE + 256


def test_errors_of_every_kind_come_through() -> None:
    def answer(request: int) -> Any:
        if request == 150:
            raise RuntimeError("its memory is gone")
        return BadField("n", "is wrong.") if request == 7 else request

    answers, failure, _ = exchange_all(Engine(answer))
    (wrong,) = (said for position, said in answers if position == 7)
    assert (type(wrong), str(wrong)) == (BadInput, "n is wrong.")
    assert isinstance(failure, EngineDied)
    assert "RuntimeError: its memory is gone" in str(failure)


def test_without_ray_it_says_how_to_get_it() -> None:
    asked = reached(RayOptions("auto"), read_settings({}), Machine(), Streams.standard())
    with pytest.raises(NoEngine, match=r"pip install 'tulu_cli\[ray\]'"), asked:
        pass
