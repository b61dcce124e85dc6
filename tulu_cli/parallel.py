"""Work on one piece after another in several processes, its results in the pieces' order."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_order(
    make: Callable[[], Callable[[Piece], Result]], pieces: Iterable[Piece], jobs: int
) -> Iterator[Result]:
    """Yield what the work that `make` makes gives for each piece, in the order of the pieces.

    With one job all happens in this process; else in so many new ones, so `make`, the pieces and
    the results must be picklable. No more than two pieces a process are taken ahead. Raise the
    first error of a piece after the results of those before it, and TuluError where a process dies.
    """
    if jobs == 1:
        yield from map(make(), pieces)
        return
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    method = "spawn"
    if sys.platform == "linux":
        # What is loaded and made by now is shared, and not loaded again for half a second. To fork
        # is safe as long as this process has one thread; on macOS the system may have others.
        method, work = "fork", make()
        make = lambda: work  # noqa: E731 (never pickled)
    context = get_context(method)
    heard, stop = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, _begin, (make, heard))
    waiting: deque[Future[Any]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(_work_on, piece))
            if len(waiting) == 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException as error:
        stop.send_bytes(b"\0")  # nobody wants what they are at, which may take them minutes
        if not isinstance(error, BrokenProcessPool):
            raise
        raise TuluError(
            "A worker process has died, perhaps for want of memory: use fewer --jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        stop.close()
        heard.close()


_make: Callable[[], Callable[[Any], Any]]
# Whether this worker is at a piece, and whether it is to begin no other; changed under the guard.
_guard = Lock()
_is_working = False
_is_stopped = False


def _begin(make: Callable[[], Callable[[Any], Any]], stop: "Connection") -> None:
    """Prepare a worker process: a Ctrl-C, its parent's end and `stop` end it without a word.

    Nobody reads what comes out of `stop`, so all workers see it.
    """
    import signal

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    import gc
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    global _make
    _make = make
    gc.set_threshold(20_000)  # as in the parent: rows make many objects, and no garbage

    def end_when_told() -> None:
        global _is_stopped
        parent = parent_process()
        assert parent is not None
        if parent.sentinel not in wait([stop, parent.sentinel]):
            with _guard:
                _is_stopped = True
                if _is_working:
                    os._exit(1)
            # It hands a result over. Half of one would keep the parent waiting for the rest.
            parent.join()
        os._exit(1)

    Thread(target=end_when_told, daemon=True).start()


@cache
def _work() -> Callable[[Any], Any]:
    return _make()


def _work_on(piece: Any) -> Any:
    _set_working(is_working=True)
    try:
        return _work()(piece)
    finally:
        _set_working(is_working=False)


def _set_working(*, is_working: bool) -> None:
    global _is_working
    with _guard:
        if _is_stopped:
            os._exit(1)
        _is_working = is_working
