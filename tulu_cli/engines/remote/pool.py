"""Many requests to one server: as many at a time as it takes, each in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from tulu_cli.errors import TuluError, UsageError

FIRST = 32  # requests that any server is given at a time
MOST = 1024  # what vLLM's server runs on its largest cards (engine/arg_utils.py, 0.32)
_MOST_OF_ALL = 4096  # threads of this process: each costs it some 70 kB
_OTHER_FILES = 64  # that this process has open beside the sockets
_LOOK_SECONDS = 2.0
_MOST_LOOKS = 3  # without an answer, one after the other
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
        self.size = fixed or FIRST
        self._waiting = waiting
        self._grows = fixed is None
        self._is_open = False
        self._due = 0.0
        self._unheard = 0

    def open(self) -> None:
        """Take the room that there is for a batch. Raise UsageError for a fixed one that is not."""
        most = _most_of_all()
        if not self._grows and self.size > most:
            raise UsageError(
                f"--in-flight {self.size}: each request is an open file, and this process may have "
                f"{most} of them; `ulimit -n` raises that."
            )
        self._due = time.monotonic() + _LOOK_SECONDS
        with _lock:
            self._is_open = True
            # What it has grown to in an earlier batch, as long as others leave that much.
            self.size = min(self.size, max(most - _of_all, FIRST)) if self._grows else self.size
            _add(self.size)

    def look(self, run: Callable[[Callable[[], None]], object]) -> None:
        """Have the server asked, by what `run` runs, now and then; none waits: twice the room."""
        if self._grows and time.monotonic() >= self._due:
            self._due = float("inf")  # until this one has ended
            run(self._ask)

    def settle(self, size: int) -> None:
        """Have no more from now on: the system gives no more threads."""
        with _lock:
            self._grows = False
            _add(size - self.size)
            self.size = size

    def close(self) -> None:
        """Leave the room to other servers."""
        with _lock:
            if self._is_open:
                self._is_open = False
                _add(-self.size)

    def _ask(self) -> None:
        waiting = self._waiting()
        self._unheard = self._unheard + 1 if waiting is None else 0
        most = _most_of_all()
        with _lock:
            if waiting == 0 and self._is_open and self._grows:
                more = max(0, min(self.size, MOST - self.size, most - _of_all))
                self.size += more
                _add(more)
            self._grows = self._grows and self._unheard < _MOST_LOOKS
        self._due = time.monotonic() + _LOOK_SECONDS


def _add(more: int) -> None:
    global _of_all
    _of_all += more


def _most_of_all() -> int:
    """Return how many requests this process may have at a time; let it have many open files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and soft != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError):  # macOS has a limit of its own below
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return _MOST_OF_ALL
    return max(1, min(_MOST_OF_ALL, soft - _OTHER_FILES))


def answer_all(
    requests: Iterable[_Asked],
    answer: Callable[[_Asked], _Given],
    hang_up: Callable[[], None],
    room: Room,
) -> Iterator[tuple[int, _Given | TuluError]]:
    """Yield each request's position with its answer, or with the error it raised, as they end.

    Closing the iterator cancels running requests through `hang_up`. So does an unexpected
    exception, which propagates.
    """
    from concurrent.futures import ThreadPoolExecutor  # not for those that ask one thing

    room.open()
    asking = _Asking(answer)
    waiting = 0
    with ThreadPoolExecutor(max(room.size, MOST) + 1) as threads:  # one more may look for room
        try:
            for position, request in enumerate(requests):
                while waiting >= room.size:
                    room.look(threads.submit)
                    yield asking.next_answer()
                    waiting -= 1
                try:
                    threads.submit(asking.ask, position, request)
                except RuntimeError:  # no more threads: it waits for one of those that there are
                    if not waiting:
                        raise
                    room.settle(waiting)
                waiting += 1
            for _ in range(waiting):
                yield asking.next_answer()
        finally:
            asking.left.set()
            hang_up()
            room.close()


class _Asking(Generic[_Asked, _Given]):
    """What the threads do, each for a request, until the batch has been `left`."""

    def __init__(self, answer: Callable[[_Asked], _Given]) -> None:
        self.left = threading.Event()
        self._answer = answer
        self._answers: queue.SimpleQueue[tuple[int, _Given | TuluError] | Exception]
        self._answers = queue.SimpleQueue()

    def ask(self, position: int, request: _Asked) -> None:
        """Have a request answered, in its thread."""
        if self.left.is_set():
            return
        try:
            self._answers.put((position, self._answer(request)))
        except TuluError as error:
            self._answers.put((position, error))
        except Exception as error:  # noqa: BLE001 (in a thread of the pool it would be lost)
            self._answers.put(error)

    def next_answer(self) -> tuple[int, _Given | TuluError]:
        """Wait for an answer. Raise what is no error of a request."""
        told = self._answers.get()
        if isinstance(told, Exception):
            raise told
        return told
