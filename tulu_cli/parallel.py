"""Work on the chunks of a long input in several processes, the results in the input's order."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tulu_cli.errors import TuluError

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Work = Callable[[Chunk], Result]


def in_order(
    make: Callable[[], Work[Chunk, Result]], chunks: Iterable[Chunk], jobs: int
) -> Iterator[Result]:
    """What the work that `make` makes gives for each chunk, at most one chunk a process at a time.

    With one job all happens in this process. `make` and the chunks travel to new processes: they
    must be picklable. The first TuluError that a chunk causes is raised here, after the results
    of the chunks before it.
    """
    if jobs == 1:
        yield from map(make(), chunks)
        return
    workers = [_Worker(make) for _ in range(jobs)]
    try:
        yield from _round(workers, iter(chunks))
    finally:
        for worker in workers:
            worker.close()


def _round(workers: "list[_Worker]", chunks: Iterator[Any]) -> Iterator[Any]:
    """Hand out chunks and take results, both in turn: a worker never has two to send."""
    idle, busy = deque(workers), deque[_Worker]()
    while True:
        with suppress(StopIteration):
            while idle:
                chunk = next(chunks)
                idle[0].send(chunk)
                busy.append(idle.popleft())
        if not busy:
            return
        worker = busy.popleft()
        idle.append(worker)
        yield worker.receive()


class _Worker:
    """A process with a connection to it; it ends when the connection does, however that ends."""

    def __init__(self, make: Callable[[], Any]) -> None:
        import multiprocessing

        # A new interpreter inherits no other worker's connection, which would keep that alive.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, chunk: Any) -> None:
        with _worker_errors():
            self._connection.send(chunk)

    def receive(self) -> Any:
        with _worker_errors():
            result, error = self._connection.recv()
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def _worker_errors() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise TuluError(
            "A worker process has died, perhaps for want of memory: use fewer --jobs."
        ) from error


def _serve(connection: Connection, make: Callable[[], Any]) -> None:
    """The life of a worker. A Ctrl-C is for the parent, which then closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work = make()
    except TuluError as error:
        work = _failing(error)
    with suppress(EOFError, OSError):
        while True:
            connection.send(_outcome(work, connection.recv()))


def _failing(error: TuluError) -> Callable[[Any], Any]:
    def work(_chunk: Any) -> Any:
        raise error

    return work


def _outcome(work: Callable[[Any], Any], chunk: Any) -> tuple[Any, TuluError | None]:
    try:
        return work(chunk), None
    except TuluError as error:
        return None, error
