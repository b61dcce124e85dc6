"""One conversation after another: rows through a verb's work, in order, in one process or more."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from tulu_cli.commands.template._options import chunks_of
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    import json

    from tulu_cli.commands.template._options import Input
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.prompt.inspect.rows import Chunk
    from tulu_cli.streams import Streams

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# What is printed of a row.
RowWork = Callable[["Row"], str]


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk prints, up to the row that failed, if one did; `text` is None for no row."""

    text: str | None
    error: TuluError | None = None


def process(
    streams: "Streams",
    given: "Input",
    make: Callable[[], RowWork],
    *,
    between: str = "",
    jobs: int = 1,
    format_name: str = "auto",
    styled: bool = False,
) -> None:
    """Print what the work makes of each row. Raise the first row's error after those before it.

    `make` makes the work, in each process anew; `between` is printed between two rows.
    With `styled` the work has made its texts safe for a terminal.
    """
    chunks = chunks_of(given, streams)
    write = streams.write_styled if styled else streams.write
    first = True
    for done in in_order(partial(_chunk_work, make, format_name, between), chunks, jobs):
        if done.text is not None:
            write(done.text if first else between + done.text)
            first = False
        if done.error is not None:
            raise done.error


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
    pool = ProcessPoolExecutor(jobs, get_context(method), _begin, (make,))
    waiting: deque[Future[Any]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(_work_on, piece))
            if len(waiting) == 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise TuluError(
            "A worker process has died, perhaps for want of memory: use fewer --jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_make: Callable[[], Callable[[Any], Any]]


def _begin(make: Callable[[], Callable[[Any], Any]]) -> None:
    """Prepare a worker process: a Ctrl-C ends it without a word, and so does its parent's end."""
    import gc
    import os
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    global _make
    _make = make
    gc.set_threshold(20_000)  # as in the parent: rows make many objects, and no garbage
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent() -> None:
        if parent := parent_process():
            parent.join()
        os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()


@cache
def _work() -> Callable[[Any], Any]:
    return _make()


def _work_on(piece: Any) -> Any:
    return _work()(piece)


def _chunk_work(
    make: Callable[[], RowWork], format_name: str, between: str
) -> Callable[["Chunk"], Done]:
    from tulu_cli.prompt.limits import BUDGET

    work = make()

    def on_chunk(chunk: "Chunk") -> Done:
        texts: list[str] = []
        failure = None
        try:
            for number, row in chunk.rows(format_name):
                try:
                    with BUDGET:
                        texts.append(work(row))
                except TuluError as error:
                    raise type(error)(f"{chunk.place(number)}: {error}") from error
        except TuluError as error:
            failure = error
        return Done(between.join(texts) if texts else None, failure)

    return on_chunk


@cache
def json_encoder() -> "json.JSONEncoder":
    """Return the encoder that writes values as one line of JSON."""
    import json

    return json.JSONEncoder(ensure_ascii=False)
