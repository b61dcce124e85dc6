"""Many requests to one server: a bounded number at a time, each in a thread that waits for it."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tulu_cli.errors import TuluError

IN_FLIGHT = 32
_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")


def answer_all(
    requests: Iterable[_Asked],
    answer: Callable[[_Asked], _Given],
    hang_up: Callable[[], None],
) -> Iterator[tuple[int, _Given | TuluError]]:
    """Yield each request's position with its answer, or with the error it raised, as they end.

    Closing the iterator cancels running requests through `hang_up`. So does an unexpected
    exception, which propagates.
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

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        try:
            for position, request in enumerate(requests):
                if waiting == IN_FLIGHT:
                    yield next_answer()
                    waiting -= 1
                threads.submit(work, position, request)
                waiting += 1
            for _ in range(waiting):
                yield next_answer()
        finally:
            left.set()
            hang_up()
