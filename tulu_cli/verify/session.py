"""`tulu verify`: the rows of a file to their verdicts, in order, on all cores."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tulu_cli.disk import reading, writing
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.parallel import in_order
from tulu_cli.prompt.inspect.rows import as_they_come
from tulu_cli.streams import Streams
from tulu_cli.text import plural, shown
from tulu_cli.verify.disagree import Against, Disagreements
from tulu_cli.verify.explain import explain
from tulu_cli.verify.output import File, Sink, opened
from tulu_cli.verify.records import Judge, Tally, encode
from tulu_cli.verify.rows import LABEL
from tulu_cli.verify.rules import AUTO, Chooser, named
from tulu_cli.verify.summary import Summary
from tulu_cli.verify.verdict import Era

# Small enough that a kill loses seconds of slow comparisons, large enough for processes.
_PIECE_BYTES = 2**15
_BOM = b"\xef\xbb\xbf"
_STATUS_SECONDS = 0.2


@dataclass(frozen=True)
class VerifyOptions:
    """The options of `tulu verify`; `jobs` is None for all cores."""

    source: str = "-"
    rule: str = AUTO
    era: Era = "now"
    label: str = LABEL
    output: str = "-"
    resume: bool = False
    overwrite: bool = False
    jobs: int | None = None
    explain: int | None = None
    against: str | None = None
    summary: str | None = None


# A line that is not blank, and its number from 1.
NumberedLine = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Verified:
    """What is written of some rows, and what they add to the summary."""

    text: str
    tallies: list[Tally]
    disagreements: Disagreements | None = None


def run(chosen: VerifyOptions, streams: Streams) -> None:
    """Verify the rows of a file. Raise TuluError, in the end also if some could not be verified."""
    check_combinations(chosen)
    judge = Judge(Chooser(chosen.rule, chosen.era), chosen.label)
    if chosen.rule != AUTO:
        named(chosen.rule, chosen.era)  # says what is wrong with it before anything is opened
    with source(chosen.source, streams) as file:
        rows = numbered(file)
        if chosen.explain is not None:
            streams.write(explain(rows, chosen.explain, judge))
            return
        options = {"resume": chosen.resume, "overwrite": chosen.overwrite}
        with opened(chosen.output, streams, **options) as sink:
            summary = Session(chosen, judge, streams, sink).verify(rows)
    if chosen.summary is not None:
        with writing(chosen.summary):
            Path(chosen.summary).write_text(json.dumps(summary.values()) + "\n", encoding="utf-8")
    if summary.errors:
        raise BadInput(
            f"{summary.errors:,} of {plural(summary.rows, 'row')} could not be verified. "
            f"The first: {summary.first_error}"
        )


def check_combinations(chosen: VerifyOptions) -> None:
    """Raise UsageError for options that contradict one another."""
    if chosen.resume and chosen.overwrite:
        raise UsageError("--resume and --overwrite cannot be combined.")
    if chosen.output == "-" and (chosen.resume or chosen.overwrite):
        raise UsageError("--resume and --overwrite need a file to write: name it with -o.")
    if chosen.against is not None:
        if chosen.resume:
            raise UsageError("--against writes few rows, which --resume could not go on with.")
        if chosen.summary is not None:
            raise UsageError("--summary is of one rule: leave --against out.")
        if chosen.against not in ("now", "2024"):
            named(chosen.against)
    if chosen.explain is not None:
        given = {"-o": chosen.output != "-"}
        given |= {"--against": bool(chosen.against), "--summary": bool(chosen.summary)}
        for name in filter(given.get, given):
            raise UsageError(f"--explain is about one row: leave {name} out.")
    here, there = Path(chosen.source), Path(chosen.output)
    if here.exists() and there.exists() and here.samefile(there):
        raise UsageError("The output would overwrite the input: name another file with -o.")


@contextmanager
def source(name: str, streams: Streams) -> Iterator[BinaryIO]:
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


def numbered(file: BinaryIO) -> Iterator[list[NumberedLine]]:
    """Yield the lines that are not blank, with their numbers, some at a time. Raise BadInput."""
    first = 1
    pieces = as_they_come(file, _PIECE_BYTES)
    while True:
        with reading("The input"):
            lines = next(pieces, None)
        if lines is None:
            return
        if first == 1:
            lines[0] = lines[0].removeprefix(_BOM)
        yield [(at, line) for at, line in enumerate(lines, first) if line and not line.isspace()]
        first += len(lines)


Work = Callable[[list[NumberedLine]], Verified]


def make_work(judge: Judge, against: str | None) -> Work:
    """Return the work on some rows, for a process of its own."""
    return partial(disagreeing, Against(judge, against)) if against else partial(judging, judge)


def judging(judge: Judge, lines: list[NumberedLine]) -> Verified:
    """Return the rows with their verdicts."""
    made = [judge.record(line, f"line {number:,}") for number, line in lines]
    return Verified("".join(encode(record) for record, _ in made), [tally for _, tally in made])


def disagreeing(against: Against, lines: list[NumberedLine]) -> Verified:
    """Return the answers on which two rules disagree."""
    found = Disagreements()
    records = [one for number, line in lines for one in against.rows(line, number, found)]
    return Verified("".join(map(encode, records)), [], found)


@dataclass
class Session:
    """One run over the rows, into its output."""

    chosen: VerifyOptions
    judge: Judge
    streams: Streams
    sink: Sink

    def __post_init__(self) -> None:
        self._shown = time.monotonic()

    def verify(self, rows: Iterator[list[NumberedLine]]) -> Summary:
        """Verify what has no verdict yet, and return what all of them say, after saying it."""
        summary, disagreements = Summary(), Disagreements()
        if isinstance(self.sink, File) and self.chosen.resume:
            summary.add(self.sink.earlier())
            rows = self._remaining(rows, self.sink)
        before = summary.rows
        make = partial(make_work, self.judge, self.chosen.against)
        jobs = self.chosen.jobs or cores()
        stopped = "; stopped" + ("; --resume goes on" if isinstance(self.sink, File) else "")
        try:
            for done in in_order(make, rows, jobs):
                self.sink.write(done.text)
                summary.add(done.tallies)
                if done.disagreements is not None:
                    disagreements.add(done.disagreements)
                self._show(summary.rows + disagreements.rows)
            stopped = ""
        finally:
            self.streams.show_status("")
            if self.chosen.against is None:
                self._conclude(summary, before, stopped)
        if self.chosen.against is not None:
            self.streams.say(f"tulu: {disagreements.told()}")
            return replace(
                summary,
                rows=disagreements.rows,
                errors=disagreements.errors,
                first_error=disagreements.first_error,
            )
        return summary

    def _conclude(self, summary: Summary, before: int, stopped: str) -> None:
        line = plural(summary.rows - before, "row")
        line += f" after {before:,} before" if before else ""
        line += f", {plural(summary.errors, 'error')}" if summary.errors else ""
        self.streams.say(f"tulu: {line}{stopped}")
        for line in summary.lines():
            self.streams.say(line)

    def _show(self, rows: int) -> None:
        now = time.monotonic()
        if now - self._shown >= _STATUS_SECONDS:
            self._shown = now
            self.streams.show_status(plural(rows, "row"))

    def _remaining(
        self, rows: Iterator[list[NumberedLine]], sink: File
    ) -> Iterator[list[NumberedLine]]:
        """Yield the rows behind those that the output has.

        The last of those is verified again. Raise UsageError if that does not give its line: the
        output was begun with other rows or another rule.
        """
        missing = sink.done
        for piece in rows:
            if missing > len(piece):
                missing -= len(piece)
                continue
            if missing:
                number, line = piece[missing - 1]
                again = encode(self.judge.record(line, f"line {number:,}")[0])
                if again.encode("utf-8", "replace") != sink.last:
                    raise UsageError(
                        f"Line {number:,} of the input does not give the last line of "
                        f"{shown(self.chosen.output)}: --resume needs the same rows and the same "
                        "rule, --overwrite starts again."
                    )
            yield from chain((piece[missing:],), rows)
            return
        if missing:
            raise UsageError(
                f"{shown(self.chosen.output)} has more rows than the input: --resume needs the "
                "same rows, --overwrite starts again."
            )


def cores() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1
