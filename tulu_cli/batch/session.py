"""`tulu batch`: where rows come in and records go out, and who is told."""

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tulu_cli.batch.lines import Line, read_csv, read_lines
from tulu_cli.batch.progress import Counts, Reporter
from tulu_cli.batch.rows import read_row
from tulu_cli.batch.run import InOrder
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.request.constraint import check
from tulu_cli.text import plural, shown

if TYPE_CHECKING:
    from tulu_cli.batch.journal import Journal
    from tulu_cli.batch.options import BatchOptions
    from tulu_cli.batch.records import Answer, Writer
    from tulu_cli.batch.rows import BadRow, Row
    from tulu_cli.batch.run import Feed
    from tulu_cli.streams import Streams


@dataclass
class Desk:
    """Reads rows that are not answered yet, writes their records, and counts.

    `journal` is None where the records go to stdout.
    """

    chosen: "BatchOptions"
    writer: "Writer"
    journal: "Journal | None"
    streams: "Streams"
    counts: Counts = field(default_factory=lambda: Counts(time.monotonic()))

    def __post_init__(self) -> None:
        self.counts.finished_before = self.journal.finished if self.journal else 0
        self._reporter = Reporter(self.streams, self.counts)
        self._source: BinaryIO | None = None
        self._size: int | None = None

    def open_rows(self, source: BinaryIO) -> "Iterator[Row | BadRow]":
        """The rows that have no record yet."""
        self._source, self._size = source, size_of(source)
        for line in self._lines(source):
            if self.journal is None or not self.journal.has(line.number, line.digest):
                yield read_row(
                    line,
                    self.chosen.input_format,
                    self.chosen.template,
                    scored=self.chosen.score,
                )

    def begin(self) -> None:
        """The engine is there: its loading is no time of the batch."""
        self.counts.started = time.monotonic()

    def serve(self, feed: "Feed[Any]", rows: "Iterable[Row | BadRow]") -> None:
        """Have the rows answered, write what comes, and say how far that went.

        The engine's own end, which takes vLLM a second, is no time of the batch either.
        """
        order = InOrder(self._write)
        in_order = self.chosen.in_order
        try:
            feed.answer(
                rows,
                order.take if in_order else self._write,
                order.expect if in_order else lambda _line: None,
            )
        except BaseException:
            self.end("; stopped" + ("; --resume goes on" if self.journal else ""))
            raise
        self.end()

    def end(self, how: str = "") -> None:
        """Say what has been done until now, and how it ended."""
        self.counts.share = None
        self._reporter.end(how)
        if self.chosen.stats is not None:
            summary = self.counts.summary(time.monotonic())
            write_stats(Path(self.chosen.stats), {"model": self.writer.model, **summary})

    def conclude(self) -> None:
        """The end of a batch that ran through. Raises BadInput where rows had errors."""
        if self.counts.errors:
            where = "the output" if self.journal is None else shown(self.chosen.output)
            raise BadInput(
                f"{self.counts.errors:,} of {plural(self.counts.rows, 'row')} could not be "
                f"answered: their records in {where} say why."
            )

    def _lines(self, source: BinaryIO) -> Iterator[Line]:
        named = self.chosen.source.lower().endswith(".csv")
        if self.chosen.input_format == "csv" or (self.chosen.input_format == "auto" and named):
            return read_csv(source, shown(self.chosen.source))
        return read_lines(source)

    def _write(self, row: "Row | BadRow", answer: "Answer") -> None:
        problem = self._problem(answer)
        line = self.writer.line(row, answer, problem)
        if self.journal is None:
            self.streams.write(f"{line}\n")
        else:
            self.journal.write(line)
        self.counts.add(answer if problem is None else problem)
        self._tick()
        most = self.chosen.max_errors
        if problem is not None and most is not None and self.counts.errors > most:
            raise BadInput(
                f"Line {row.line:,} could not be answered, which are more errors than the "
                f"{most:,} that were allowed. {problem}"
            )

    def _problem(self, answer: "Answer") -> TuluError | None:
        """Why an answer is none, or not what was asked for."""
        if isinstance(answer, TuluError):
            return answer
        constraint = self.chosen.constraint
        try:
            for choice in answer if constraint and isinstance(answer, list) else ():
                assert constraint is not None
                check(constraint, choice)
        except TuluError as error:
            return error
        return None

    def _tick(self) -> None:
        if self._size and self._source is not None:
            self.counts.share = self._source.tell() / self._size
        self._reporter.tick()


def size_of(source: BinaryIO) -> int | None:
    """The bytes of a file; None for a pipe, which ends nobody knows when."""
    try:
        status = os.fstat(source.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def write_stats(path: Path, summary: dict[str, object]) -> None:
    """The summary as JSON. Raises TuluError where the file cannot be written."""
    try:
        path.write_text(json.dumps(summary) + "\n", encoding="utf-8")
    except OSError as error:
        raise TuluError(f"{path} cannot be written: {error.strerror or error}.") from error
