"""A batch from its input to its output: rows in, answers out, each once, and what is said of it."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from tulu_cli.batch.journal import drop_errors, open_journal
from tulu_cli.batch.lines import Line, read_csv, read_lines
from tulu_cli.batch.logprobs import LogprobForms
from tulu_cli.batch.options import check_combinations, check_model
from tulu_cli.batch.progress import Counts, Reporter
from tulu_cli.batch.records import Writer
from tulu_cli.batch.requests import (
    check_sampling,
    identity,
    misplaced,
    row_requests,
    row_scores,
)
from tulu_cli.batch.rows import Row, id_of, read_row
from tulu_cli.batch.run import Feed, InOrder
from tulu_cli.batch.scoring import RowScorer
from tulu_cli.disk import reading, writing
from tulu_cli.engines.fleet import Fleet
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.loading import TokenModel, open_engine, prepare
from tulu_cli.loading.workers import open_workers, reached
from tulu_cli.request.constraint import check
from tulu_cli.text import listed, plural, shown

if TYPE_CHECKING:
    from tulu_cli.batch.journal import Journal
    from tulu_cli.batch.options import BatchOptions
    from tulu_cli.batch.records import Answer
    from tulu_cli.batch.rows import BadRow
    from tulu_cli.engines.base import Engine
    from tulu_cli.loading import LoadOptions, Prepared
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams


def run(chosen: "BatchOptions", streams: "Streams", machine: "Machine") -> None:
    """Answer the rows of a file. Raise TuluError, in the end also if some rows had errors."""
    check_combinations(chosen)
    with (
        opened(chosen.source, streams) as source,
        reached(chosen.ray, chosen.load.settings, machine, streams) as cluster,
    ):
        prepared = prepare(_load(chosen), cluster.machine() if cluster else machine, streams)
        check_model(chosen, prepared)
        writer = record_writer(chosen, prepared)
        with journal(chosen, writer.settings) as kept:
            if chosen.shard is not None:
                place = "stdout" if kept is None else shown(chosen.output)
                streams.say(f"tulu: shard {chosen.shard}, into {place}")
            session = BatchSession(chosen, writer, kept, streams)
            # Set up for many answers: what compiling costs comes back.
            purpose: Literal["server", "scoring"] = "scoring" if chosen.score else "server"

            def opening() -> "AbstractContextManager[Engine]":
                if chosen.ray is None:
                    return open_engine(prepared, streams, purpose=purpose)
                return open_workers(prepared, chosen.ray, cluster, streams, purpose=purpose)

            answer_rows(chosen, prepared, source, session, opening)
            session.conclude()


def _load(chosen: "BatchOptions") -> "LoadOptions":
    """Return where the answers come from: for scores, which nothing drafts, without the draft.

    A warm engine with any draft scores alike.
    """
    if not chosen.score:
        return chosen.load
    return replace(chosen.load, settings=chosen.load.settings.without("draft"))


@contextmanager
def opened(name: str, streams: "Streams") -> Iterator[BinaryIO]:
    """Open the input. Raise BadInput if it cannot be read, UsageError for a silent terminal."""
    if name == "-":
        if streams.stdin_tty:
            raise UsageError("There is no input: name a file, or pipe the rows in.")
        yield streams.stdin
        return
    with reading(repr(name)):
        file = Path(name).open("rb")  # noqa: SIM115 (closed below; its errors are translated here)
    with file:
        yield file


@contextmanager
def journal(chosen: "BatchOptions", settings: int) -> "Iterator[Journal | None]":
    """Open the output file; yield None if the records go to stdout."""
    if chosen.output == "-":
        yield None
        return
    path = Path(chosen.output)
    if chosen.retry_errors:
        drop_errors(path)
    kept = open_journal(
        path,
        settings,
        resume=chosen.resume,
        overwrite=chosen.overwrite,
        shard=chosen.shard,
    )
    with closing(kept):
        yield kept


def record_writer(chosen: "BatchOptions", prepared: "Prepared") -> Writer:
    """Return what makes the records, in the format that was asked for."""
    is_openai = chosen.output_format == "openai"
    logprobs = None
    if chosen.logprobs is not None:
        model = prepared.model
        tokenizer = model.tokenizer if isinstance(model, TokenModel) else None
        logprobs = LogprobForms(tokenizer, openai=is_openai)
    return Writer(
        identity(chosen, prepared), prepared.model.label, openai=is_openai, logprobs=logprobs
    )


def answer_rows(
    chosen: "BatchOptions",
    prepared: "Prepared",
    source: BinaryIO,
    session: "BatchSession",
    opening: "Callable[[], AbstractContextManager[Engine]]",
) -> None:
    """Answer what is not answered yet, and say how it went.

    `opening` has the engine loaded inside; it is not called if there is nothing to answer.
    """
    rows = session.open_rows(source)
    first = next(rows, None)
    if first is None:
        session.end()
        return
    if isinstance(first, Row):
        with suppress(BadInput):  # its record says what is wrong with it
            check_sampling(chosen, prepared, first.sampling)
    with opening() as engine:
        if isinstance(engine, Fleet):
            # It may have answered the rows of another task before.
            session.counts.members = partial(engine.reports, engine.reports())
            session.counts.noun = engine.noun
        session.begin()
        waiting = chain((first,), rows)
        if chosen.score:
            scored = Feed(RowScorer(engine), row_scores(chosen, prepared), chosen.window)
            session.serve(scored, waiting)
        else:
            session.serve(Feed(engine, row_requests(chosen, prepared), chosen.window), waiting)


@dataclass
class BatchSession:
    """Reads rows that are not answered yet, writes their records, and counts.

    `journal` is None where the records go to stdout. `is_kept` says that a later run finds it.
    """

    chosen: "BatchOptions"
    writer: Writer
    journal: "Journal | None"
    streams: "Streams"
    is_kept: bool = True
    counts: Counts = field(default_factory=lambda: Counts(time.monotonic()))

    def __post_init__(self) -> None:
        self.counts.finished_before = self.journal.finished if self.journal else 0
        if self.chosen.rows is not None:
            self.counts.expected = self.chosen.rows - self.counts.finished_before
        self._reporter = Reporter(self.streams, self.counts, label=self.chosen.label)
        self._source: BinaryIO | None = None
        self._size: int | None = None
        self._has_said = False

    def open_rows(self, source: BinaryIO) -> "Iterator[Row | BadRow]":
        """Yield the rows of the shard that have no record yet."""
        self._source, self._size = source, size_of(source)
        for line in input_lines(source, self.chosen.source, self.chosen.input_format):
            if self.chosen.shard and not self.chosen.shard.has(id_of(line), line.digest):
                continue
            if self.journal is None or not self.journal.has(line.number, line.digest):
                yield read_row(
                    line,
                    self.chosen.input_format,
                    self.chosen.template,
                    scored=self.chosen.score,
                )

    def begin(self) -> None:
        """Start the clock: loading the engine does not count."""
        self.counts.started = time.monotonic()

    def serve(self, feed: Feed[Any], rows: "Iterable[Row | BadRow]") -> None:
        """Have the rows answered, write what comes, and say how far that went.

        The engine's own end, which takes vLLM a second, does not count as time of the batch either.
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
            can_go_on = self.is_kept and self.journal is not None and self.journal.can_be_resumed
            self.end("; stopped" + ("; --resume goes on" if can_go_on else ""))
            raise
        self.end()

    def end(self, how: str = "") -> None:
        """Say what has been done until now, and how it ended."""
        self.counts.share = self.counts.expected = None
        self._reporter.end(how)
        if self.chosen.stats is not None:
            summary = self.counts.summary(time.monotonic())
            write_stats(Path(self.chosen.stats), {"model": self.writer.model, **summary})

    def conclude(self) -> None:
        """Raise BadInput if the batch is over and rows had errors."""
        if self.counts.errors:
            where = "the output" if self.journal is None else shown(self.chosen.output)
            raise BadInput(
                f"{self.counts.errors:,} of {plural(self.counts.rows, 'row')} could not be "
                f"answered: their records in {where} say why."
            )

    def _write(self, row: "Row | BadRow", answer: "Answer") -> None:
        self._say_misplaced(row)
        problem = self._problem(answer)
        verdicts: Mapping[str, Any] = {}
        if self.chosen.verify and isinstance(row, Row) and not isinstance(answer, TuluError):
            try:
                verdicts = self.chosen.verify.columns(row.columns, answer)
            except BadInput as error:
                problem = problem or BadInput(f"line {row.line:,}: {error}")
        line = self.writer.line(row, answer, problem, verdicts)
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

    def _say_misplaced(self, row: "Row | BadRow") -> None:
        """Say, once, that a row's sampling stands where it is only copied."""
        if self._has_said or not isinstance(row, Row):
            return
        names = misplaced(row, has_template=self.chosen.template is not None)
        if names:
            self._has_said = True
            self.streams.say(
                f"tulu: line {row.line:,} has {listed(names)} as columns, which are only copied: a "
                "row sets its own in an object named sampling."
            )

    def _problem(self, answer: "Answer") -> TuluError | None:
        """Return why an answer is missing or not as asked, or None."""
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


def input_lines(source: BinaryIO, name: str, input_format: str) -> Iterator[Line]:
    """Return the records of an input, which is CSV by its format or its name, as they come."""
    named = name.lower().endswith(".csv")
    if input_format == "csv" or (input_format == "auto" and named):
        return read_csv(source, shown(name))
    return read_lines(source)


def size_of(source: BinaryIO) -> int | None:
    """Return the bytes of a file, or None for a pipe."""
    try:
        status = os.fstat(source.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def write_stats(path: Path, summary: dict[str, object]) -> None:
    """Write the summary as JSON. Raise TuluError if the file cannot be written."""
    with writing(path):
        path.write_text(json.dumps(summary) + "\n", encoding="utf-8")
