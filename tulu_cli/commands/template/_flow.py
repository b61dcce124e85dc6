"""One conversation after another: rows through a verb's work, in order, in one process or more."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from tulu_cli.commands.template._options import chunks_of
from tulu_cli.errors import TuluError
from tulu_cli.parallel import in_order

if TYPE_CHECKING:
    import json

    from tulu_cli.commands.template._options import Input
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.prompt.inspect.rows import Chunk
    from tulu_cli.streams import Streams

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
