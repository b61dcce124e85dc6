"""One conversation after another: rows through a verb's work, in order, in one process or more."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from tulu_cli.commands.template._input import chunks_of
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    import json

    from tulu_cli.commands.template._input import Input
    from tulu_cli.prompt.formats import PlainRow, Row
    from tulu_cli.prompt.rows import Chunk
    from tulu_cli.streams import Streams

# What is printed of a row.
RowWork = Callable[["Row | PlainRow"], str]


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk became, up to the row that failed, if one did."""

    texts: list[str]
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
    """Print what the work makes of each row. Raises the first row's error, after those before it.

    `make` makes the work, in each process anew; `between` is printed between two rows.
    With `styled` the work has made its texts safe for a terminal.
    """
    from tulu_cli.parallel import in_order

    chunks = chunks_of(given, streams)
    write = streams.write_styled if styled else streams.write
    first = True
    for done in in_order(partial(_chunk_work, make, format_name), chunks, jobs):
        if done.texts:
            write(("" if first else between) + between.join(done.texts))
            first = False
        if done.error is not None:
            raise done.error


def _chunk_work(make: Callable[[], RowWork], format_name: str) -> Callable[["Chunk"], Done]:
    work = make()

    def on_chunk(chunk: "Chunk") -> Done:
        texts: list[str] = []
        try:
            for number, row in chunk.rows(format_name):
                try:
                    texts.append(work(row))
                except TuluError as error:
                    raise type(error)(f"{chunk.place(number)}: {error}") from error
        except TuluError as error:
            return Done(texts, error)
        return Done(texts)

    return on_chunk


@cache
def json_encoder() -> "json.JSONEncoder":
    """What writes values as one line of JSON."""
    import json

    return json.JSONEncoder(ensure_ascii=False)
