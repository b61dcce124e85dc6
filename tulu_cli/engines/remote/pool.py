"""Many requests to one server: as many at a time as it takes, each in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tulu_cli.errors import TuluError

FIRST = 32  # requests that any server is given at a time
MOST = 1024  # what vLLM's server runs on its largest cards (engine/arg_utils.py, 0.32)
_MOST_OF_ALL = 4096  # threads of this process: each costs it some 70 kB
_LOOK_SECONDS = 2.0
_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")
_lock = threading.Lock()
_of_all = 0


class Room:
    """How many requests one server is given at a time: more and more, until some wait there.

    `waiting` asks it how many do, and returns None if it does not tell. A `fixed` number stays.
    """

    def __init__(
        self, waiting: Callable[[], int | None] = lambda: None, fixed: int | None = None
    ) -> None:
        self.size = 0
        self._waiting = waiting
        self._grows = fixed is None
        self._due = time.monotonic() + _LOOK_SECONDS
        self._take(fixed or FIRST)

    def look(self, run: Callable[[Callable[[], None]], object]) -> None:
        """Have the server asked, by what `run` runs, now and then; none waits: twice the room."""
        if self._grows and time.monotonic() >= self._due:
            self._due = float("inf")  # until this one has ended
            run(self._ask)

    def close(self) -> None:
        """Leave the room to other servers."""
        self._take(-self.size)

    def _ask(self) -> None:
        waiting = self._waiting()
        if waiting == 0:
            with _lock:
                more = min(self.size, MOST - self.size, _MOST_OF_ALL - _of_all)
            self._take(max(more, 0))
        self._grows = waiting is not None and self.size < MOST
        self._due = time.monotonic() + _LOOK_SECONDS

    def _take(self, more: int) -> None:
        global _of_all
        with _lock:
            _of_all += more
            self.size += more


def answer_all(
    requests: Iterable[_Asked],
    answer: Callable[[_Asked], _Given],
    hang_up: Callable[[], None],
    room: Room,
) -> Iterator[tuple[int, _Given | TuluError]]:
    """Yield each request's position with its answer, or with the error it raised, as they end.

    Closing the iterator cancels running requests through `hang_up`. So does an unexpected
    exception, which propagates. The room is closed with it.
    """
    from concurrent.futures import ThreadPoolExecutor  # not for those that ask one thing

    answers: queue.SimpleQueue[tuple[int, _Given | TuluError] | Exception] = queue.SimpleQueue()
    waiting = 0
    left = threading.Event()

    def work(position: int, request: _Asked) -> None:
        if left.is_set():
            return
        try:
            answers.put((position, answer(request)))
        except TuluError as error:
            answers.put((position, error))
        except Exception as error:  # noqa: BLE001 (in a thread of the pool it would be lost)
            answers.put(error)

    def next_answer() -> tuple[int, _Given | TuluError]:
        told = answers.get()
        if isinstance(told, Exception):
            raise told
        return told

    with ThreadPoolExecutor(max(room.size, MOST) + 1) as threads:  # one more may look for room
        try:
            for position, request in enumerate(requests):
                while waiting >= room.size:
                    room.look(threads.submit)
                    yield next_answer()
                    waiting -= 1
                threads.submit(work, position, request)
                waiting += 1
            for _ in range(waiting):
                yield next_answer()
        finally:
            left.set()
            hang_up()
            room.close()
