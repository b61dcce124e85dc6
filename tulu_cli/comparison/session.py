"""A comparison from the models or files that are named to what is shown, or voted on."""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.batch.journal import Journal, open_journal, parsed
from tulu_cli.batch.lines import digest
from tulu_cli.batch.outputs import open_output
from tulu_cli.batch.rows import BadRow, Row, read_row
from tulu_cli.batch.session import input_lines, opened
from tulu_cli.comparison.answers import Compared, Side, compared, unpaired
from tulu_cli.comparison.asking import answer, paths, rows_of, workspace
from tulu_cli.comparison.options import CompareOptions, check, is_rows
from tulu_cli.comparison.show import JsonView, TextView, View
from tulu_cli.comparison.voter import Voter, voter
from tulu_cli.comparison.votes import LETTERS, TIE, Ballot, Tally, is_vote, order, read_votes
from tulu_cli.disk import reading, refuse_special
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.text import listed, plural, shown

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams


def run(chosen: CompareOptions, streams: "Streams", machine: "Machine") -> None:
    """Compare what is asked for. Raise TuluError."""
    if len(chosen.files) == 1 and _has_votes(chosen.files[0]):
        _summary(chosen, streams)
        return
    check(chosen)
    with ExitStack() as stack:
        someone = None
        if chosen.blind:
            taken = chosen.source == "-"
            someone = stack.enter_context(voter(streams, is_stdin_taken=taken))
            order_seed(chosen)  # what is wrong with it is said before anything is loaded
        folder = stack.enter_context(workspace(chosen))
        source = rows_of(chosen, folder, streams)
        if source is None or not chosen.models:
            _Comparison(chosen, chosen.files, chosen.files, source, streams, someone).run()
            return
        missing = 0
        cause: BaseException | None = None
        try:
            for errors in answer(chosen, folder, source, streams, machine):
                missing += errors
        except (KeyboardInterrupt, TuluError) as error:
            cause = error
        # What has come until then is shown; where votes are kept, the answers are too.
        there = [
            (label, str(path))
            for label, path in zip(chosen.models, paths(chosen, folder), strict=True)
            if path.exists()
        ]
        if there and not (cause and chosen.blind):
            labels, names = zip(*there, strict=True)
            _Comparison(chosen, labels, names, source, streams, someone).run()
        if cause is not None:
            raise cause
        if missing:
            where = (
                f"the records in {shown(str(folder))} say" if chosen.blind else "what is shown says"
            )
            raise BadInput(f"{plural(missing, 'answer')} could not be had: {where} why.")


def _has_votes(name: str) -> bool:
    """Return True if a file begins with a vote. Raise BadInput if it cannot be read."""
    if not is_rows(name) and not os.path.exists(name):
        return False  # a prompt without models
    with reading(repr(name)):
        refuse_special(Path(name), Path(name).stat())
    with reading(repr(name)), Path(name).open("rb") as file:
        return is_vote(parsed(file.readline()))


def _summary(chosen: CompareOptions, streams: "Streams") -> None:
    """Print what the votes of a file say."""
    (name,) = chosen.files
    if chosen.blind or chosen.source is not None:
        raise UsageError(f"{name!r} has votes: it needs no other option than --json.")
    tally = Tally.of((vote for vote, _ in read_votes(Path(name))), repr(name))
    if chosen.json_output:
        streams.write(json.dumps(tally.as_object(), ensure_ascii=False, indent=2) + "\n")
        return
    streams.write("\n".join(tally.as_lines()) + "\n")


@dataclass
class _Comparison:
    """Outputs with a label each, and their input if it is known."""

    chosen: CompareOptions
    labels: Sequence[str]
    paths: Sequence[str]
    source: Path | None
    streams: "Streams"
    voter: Voter | None = None

    def run(self) -> None:
        """Show the answers, or have them voted on. Raise TuluError."""
        with ExitStack() as stack:
            outputs = [stack.enter_context(open_output(Path(path))) for path in self.paths]
            sides = [Side(label, one) for label, one in zip(self.labels, outputs, strict=True)]
            self._warn(sides)
            self._show(sides)

    def _show(self, sides: Sequence[Side]) -> None:
        if self.voter is not None:
            self._vote(sides, self.voter)
            return
        is_only = self.chosen.is_prompt
        view: View = (
            JsonView(self.streams)
            if self.chosen.json_output
            else TextView(self.streams, is_only=is_only)
        )
        for one in self._compared(sides):
            view.show(one, self.labels)

    def _warn(self, sides: Sequence[Side]) -> None:
        for side in sides:
            if side.is_torn:
                self.streams.say(f"tulu: {side.name} ends in a record without an end: left out.")
        if self.chosen.models:
            return
        counts = [
            f"{plural(count, 'row')} of {shown(side.label)}"
            for side, count in zip(sides, unpaired(sides), strict=True)
            if count
        ]
        if counts:
            self.streams.say(f"tulu: without a partner, and left out: {', '.join(counts)}")

    def _compared(self, sides: Sequence[Side]) -> Iterator[Compared]:
        """Yield the rows to compare, and say at the end what was left out. Raise BadInput."""
        count = several = 0
        with self._rows() as rows:
            for one in compared(sides, rows, whole=not self.chosen.models):
                count += 1
                several += any(answer is not None and answer.others for answer in one.answers)
                yield one
        if not count and not self.chosen.models:
            raise BadInput(f"{listed(self.labels)} have no row in common.")
        common = len(set.intersection(*(side.keys() for side in sides)))
        if self.source is not None and not self.chosen.models and count < common:
            where = shown(str(self.source))
            self.streams.say(f"tulu: not in {where}, and left out: {plural(common - count, 'row')}")
        if several:
            self.streams.say(
                f"tulu: {plural(several, 'row')} with several answers: the first ones are compared."
            )

    @contextmanager
    def _rows(self) -> Iterator[Iterable[Row | BadRow] | None]:
        if self.source is None:
            yield None
            return
        chosen = self.chosen
        with opened(str(self.source), self.streams) as file:
            lines = input_lines(file, str(self.source), chosen.input_format)
            yield (read_row(line, chosen.input_format, chosen.template) for line in lines)

    def _vote(self, sides: Sequence[Side], someone: Voter) -> None:
        """Have the answers voted on, and print what the votes say."""
        streams, path = self.streams, Path(str(self.chosen.output))
        ballot = self._ballot(sides)
        resume, overwrite = self.chosen.resume, self.chosen.overwrite
        kept = open_journal(path, ballot.settings, resume=resume, overwrite=overwrite)
        if self.source is None:
            streams.say("tulu: --prompts FILE shows what was asked above the answers.")
        found = _Found()
        try:
            with closing(kept):
                self._cast(self._compared(sides), kept, ballot, someone, found)
        finally:
            found.tell(streams, shown(str(path)))
        if path.stat().st_size:
            tally = Tally.of((vote for vote, _ in read_votes(path)), repr(str(path)))
            streams.write("\n".join(tally.as_lines()) + "\n")

    def _cast(
        self,
        rows: Iterable[Compared],
        kept: Journal,
        ballot: Ballot,
        someone: Voter,
        found: "_Found",
    ) -> None:
        """Write a vote on each row that has none, until the voter leaves."""
        view = TextView(self.streams, is_only=self.chosen.is_prompt, whole_prompt=True)
        letters = list(LETTERS[: len(ballot.models)])
        for one in rows:
            if not one.is_whole:
                found.incomplete += 1
                continue
            if kept.has(one.line, one.row):
                continue
            winner = None
            if not one.is_same:
                places = order(len(letters), one, ballot.seed)
                answers = tuple(one.answers[place] for place in places)
                view.show(replace(one, answers=answers), letters)
                vote = someone.ask(letters)
                if vote is None:
                    return
                winner = None if vote == TIE else places[letters.index(vote)]
            kept.write(ballot.record(one, winner, is_drawn=not one.is_same))
            kept.sync()
            found.votes += not one.is_same
            found.equal += one.is_same
        found.is_all = True

    def _ballot(self, sides: Sequence[Side]) -> Ballot:
        """Return what the votes have in common. Raise UsageError for others in the file."""
        models, seed = tuple(self.labels), order_seed(self.chosen)
        settings = [models, seed, [sorted(side.settings) for side in sides]]
        return Ballot(models, seed, digest(json.dumps(settings).encode()))


def order_seed(chosen: CompareOptions) -> int:
    """Return the seed of the order in which answers are shown.

    It is that of the votes that are gone on with, the one that is asked for, or a new one. Raise
    UsageError for votes on other models, or of another seed.
    """
    path, seed = Path(str(chosen.output)), chosen.order_seed
    first = next(read_votes(path), None) if chosen.resume and path.is_file() else None
    if first is not None:
        vote, recorded = first
        if vote.models != (tuple(chosen.models) or chosen.files):
            raise UsageError(f"{str(path)!r} has votes on {listed(vote.models)}: name them.")
        if seed not in (None, recorded):
            raise UsageError(f"{str(path)!r} has votes with --order-seed {recorded}.")
        seed = recorded
    return secrets.randbelow(2**31) if seed is None else seed


@dataclass
class _Found:
    """What a round of votes came to."""

    votes: int = 0
    equal: int = 0
    incomplete: int = 0
    is_all: bool = False

    def tell(self, streams: "Streams", where: str) -> None:
        """Say it on stderr."""
        if self.equal:
            streams.say(f"tulu: equal answers, and so ties: {plural(self.equal, 'row')}")
        if self.incomplete:
            rows = plural(self.incomplete, "row")
            streams.say(f"tulu: without an answer of each, and left out: {rows}")
        ending = "" if self.is_all else "; --resume goes on"
        streams.say(f"tulu: {plural(self.votes, 'vote')} added to {where}{ending}")
