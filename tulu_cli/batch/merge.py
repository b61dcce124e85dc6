"""Several outputs of one batch put together in the order of their input.

What is held of a record is where it lies: 23 bytes a line of the input, however long the records.
"""

from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.batch.lines import Line
from tulu_cli.batch.options import check_format
from tulu_cli.batch.outputs import Output, Placed, is_output, open_output
from tulu_cli.batch.session import input_lines, opened
from tulu_cli.disk import replacing, writing
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.text import listed, plural, shown

if TYPE_CHECKING:
    from tulu_cli.streams import Streams

_MOST_TOLD = 10  # ranges of lines in a sentence
_GROWTH = 4096  # lines by which the index grows at a time
_FAILED, _TWICE = 1, 2  # the marks of a line: its record is an error, it had more than one


@dataclass(frozen=True)
class MergeOptions:
    """The files to put together, outputs and maybe their input, and where the whole goes."""

    files: tuple[str, ...]
    output: str = "-"
    overwrite: bool = False
    input_format: str = "auto"


def run(chosen: MergeOptions, streams: "Streams") -> None:
    """Put outputs together. Raise TuluError, in the end also if rows are missing."""
    check_format(chosen.input_format)
    outputs, source = _told_apart(chosen)
    _check_target(chosen, source)
    with ExitStack() as stack:
        index = Index()
        for path in outputs:
            index.add(stack.enter_context(open_output(path, alone=True)))
        missing = Ranges()
        if source is None:
            wanted = index.lines(missing)
        else:
            file = stack.enter_context(opened(str(source), streams))
            rows = input_lines(file, str(source), chosen.input_format)
            wanted = index.rows(rows, shown(str(source)), missing)
        count = _write(chosen, index, wanted, streams)
        _report(index, count, missing, chosen, streams, has_source=source is not None)


def _told_apart(chosen: MergeOptions) -> tuple[list[Path], Path | None]:
    """Return the outputs, and the one file that is their input, if one is there."""
    paths = [Path(name) for name in chosen.files]
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("--merge: a file is named twice.")
    others = [path for path in paths if not is_output(path)]
    if len(others) > 1:
        names = listed([str(path) for path in others])
        raise UsageError(f"--merge takes outputs of tulu batch, and one input: which is {names}?")
    outputs = [path for path in paths if path not in others]
    if not outputs:
        raise UsageError("--merge takes outputs of tulu batch: name them, such as out.*.jsonl.")
    return outputs, others[0] if others else None


def _check_target(chosen: MergeOptions, source: Path | None) -> None:
    if chosen.output == "-":
        if chosen.overwrite:
            raise UsageError("--overwrite needs a file to write: name it with -o.")
        return
    target = Path(chosen.output)
    if any(target.resolve() == Path(name).resolve() for name in (*chosen.files, source or "-")):
        raise UsageError("The output would overwrite what is merged: name another file with -o.")
    if target.exists() and not chosen.overwrite and target.stat().st_size:
        raise UsageError(f"{str(target)!r} is not empty: --overwrite replaces it.")


def _write(chosen: MergeOptions, index: "Index", wanted: Iterable[int], streams: "Streams") -> int:
    """Write the records of these lines. Return how many."""
    count = 0
    if chosen.output == "-":
        for line in wanted:
            streams.write(index.record(line).decode("utf-8", "replace"))
            count += 1
        return count
    path = Path(chosen.output)
    with writing(path), replacing(path, mode=0o644) as file:
        for line in wanted:
            file.write(index.record(line))
            count += 1
    return count


def _report(
    index: "Index",
    count: int,
    missing: "Ranges",
    chosen: MergeOptions,
    streams: "Streams",
    *,
    has_source: bool,
) -> None:
    """Say what was merged and what was left out. Raise BadInput if rows are missing."""
    for name in index.torn:
        streams.say(f"tulu: {name} ends in a record without an end: left out.")
    if index.twice.count:
        streams.say(f"tulu: there twice, and kept once: {index.twice}")
    if index.errors:
        streams.say(f"tulu: {plural(index.errors, 'row')} with an error")
    where = "" if chosen.output == "-" else f" in {shown(chosen.output)}"
    streams.say(f"tulu: {plural(count, 'row')} of {plural(index.outputs, 'output')}{where}")
    if not missing.count:
        return
    if has_source:
        goes_on = "" if chosen.output == "-" else f"; --resume with -o {chosen.output} answers them"
        raise BadInput(
            f"Without a record: {missing}. A shard is unfinished or was not named{goes_on}."
        )
    streams.say(f"tulu: without a record: {missing}, if they are rows; name the input to know.")


@dataclass
class Ranges:
    """Numbers of lines that are told in order: how many, and the first ranges of them."""

    count: int = 0
    _first: list[tuple[int, int]] = field(default_factory=list)
    _told: int = 0

    def add(self, first: int, last: int) -> None:
        """Add the lines from `first` to `last`."""
        self.count += last - first + 1
        if self._first and self._first[-1][1] == first - 1:
            self._told += last - first + 1
            self._first[-1] = (self._first[-1][0], last)
        elif len(self._first) < _MOST_TOLD:
            self._told += last - first + 1
            self._first.append((first, last))

    def __str__(self) -> str:
        spans = (f"{one:,}" if one == last else f"{one:,} to {last:,}" for one, last in self._first)
        noun = "line" if self.count == 1 else "lines"
        more = f" and {self.count - self._told:,} more" if self.count > self._told else ""
        return f"{noun} {', '.join(spans)}{more}"


class Index:
    """Where the record of each line of the input lies, in which of the outputs."""

    def __init__(self) -> None:
        self.errors = 0
        self.twice = Ranges()
        self.torn: list[str] = []
        self._outputs: list[Output] = []
        self._settings: int | None = None
        self._rows = array("Q")  # the hash of each row, by its line; 0 is none
        self._offsets = array("Q")
        self._lengths = array("I")
        self._places = array("H")
        self._marks = bytearray()

    @property
    def outputs(self) -> int:
        """Return how many outputs there are."""
        return len(self._outputs)

    def add(self, output: Output) -> None:
        """Add the records of an output. Raise UsageError for other settings, BadInput."""
        place = len(self._outputs)
        if place > 0xFFFF:
            raise UsageError(f"--merge takes at most {0xFFFF + 1:,} outputs at a time.")
        self._outputs.append(output)
        for one in output.records():
            self._check_settings(one, output)
            self._put(one, place)
        if output.is_torn:
            self.torn.append(output.name)

    def _check_settings(self, one: Placed, output: Output) -> None:
        if self._settings is None:
            self._settings = one.key.settings
        if one.key.settings != self._settings:
            raise UsageError(
                f"{output.name} was made with other settings than {self._outputs[0].name} (their "
                f"hash is {one.key.settings:016x}, and not {self._settings:016x}): they are not "
                "shards of one batch."
            )

    def _put(self, one: Placed, place: int) -> None:
        line = one.key.line
        missing = line + 1 - len(self._rows)
        if missing > 0:
            missing += _GROWTH
            for column in (self._rows, self._offsets, self._lengths, self._places):
                column.frombytes(bytes(column.itemsize * missing))
            self._marks.extend(bytes(missing))
        known = self._rows[line]
        if known not in (0, one.key.row):
            where = self._outputs[self._places[line]].name
            raise BadInput(
                f"Line {line:,} is one row in {where} and another one in "
                f"{self._outputs[place].name}: they are shards of different inputs."
            )
        has_failed = bool(one.value.get("error"))
        if known:
            self._marks[line] |= _TWICE
            if has_failed or not self._marks[line] & _FAILED:
                return  # an answer takes the place of an error, and of nothing else
            self.errors -= 1
        self.errors += has_failed
        self._rows[line], self._offsets[line] = one.key.row, one.offset
        self._lengths[line], self._places[line] = one.length, place
        self._marks[line] = self._marks[line] & _TWICE | (_FAILED if has_failed else 0)

    def lines(self, missing: Ranges) -> Iterator[int]:
        """Yield the lines that have a record, in order; put those between them into `missing`."""
        self._tell_doubles()
        last = 0
        for line, row in enumerate(self._rows):
            if row:
                if line > last + 1:
                    missing.add(last + 1, line - 1)
                last = line
                yield line

    def rows(self, rows: Iterable[Line], source: str, missing: Ranges) -> Iterator[int]:
        """Yield the lines of the input that have a record; put the others into `missing`.

        Raise BadInput where the input is not the one that the outputs answer.
        """
        self._tell_doubles()
        found = 0
        for row in rows:
            known = self._rows[row.number] if row.number < len(self._rows) else 0
            if not known:
                missing.add(row.number, row.number)
                continue
            if known != row.digest:
                name = self._outputs[self._places[row.number]].name
                raise BadInput(f"Line {row.number:,} of {source} is not the one that {name} has.")
            found += 1
            yield row.number
        there = sum(1 for known in self._rows if known)
        if there > found:
            raise BadInput(
                f"{source} is not the input of the outputs, which have "
                f"{plural(there - found, 'row')} more."
            )

    def _tell_doubles(self) -> None:
        for line, mark in enumerate(self._marks):
            if mark & _TWICE:
                self.twice.add(line, line)

    def record(self, line: int) -> bytes:
        """Return the record of a line, with its end. Raise BadInput if its output has changed."""
        return self._outputs[self._places[line]].read(self._offsets[line], self._lengths[line])
