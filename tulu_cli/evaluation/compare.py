"""Two runs over the same rows, in pairs: which of them is better, and is it by chance?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.evaluation.results import Result, read_run
from tulu_cli.render.columns import aligned
from tulu_cli.statistics import Difference, difference, estimate
from tulu_cli.text import listed, plural

_HEAD = ("task", "first", "second", "difference", "error", "n", "better", "worse", "p", "")
_RIGHT = tuple(range(1, len(_HEAD) - 1))
_DIFFERENT = "the two runs asked it of different data"


@dataclass(frozen=True, slots=True)
class Pair:
    """A task of two runs, over the rows that have a score in both.

    `unpaired` rows have one in one of them alone.
    """

    task: str
    first: float
    second: float
    difference: Difference
    unpaired: int

    @property
    def better(self) -> str:
        """Return which run is better in words: tied where chance explains the difference."""
        if self.difference.is_tied:
            return "tied"
        return "second is better" if self.difference.value > 0 else "first is better"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The pairs of two runs, and the tasks that they asked of different data, which have none."""

    pairs: Sequence[Pair]
    different: Sequence[str]


def compare(first: Path, second: Path) -> Comparison:
    """Return the pairs of all tasks of both runs. Raise BadInput if there are none."""
    (_, ours), (_, theirs) = read_run(first), read_run(second)
    by_name = {one.task.name: one for one in theirs}
    both = [(one, by_name[one.task.name]) for one in ours if one.task.name in by_name]
    different = [one.task.name for one, other in both if not _are_of_same_rows(one, other)]
    same = [(one, other) for one, other in both if one.task.name not in different]
    pairs = [made for one, other in same if (made := _pair(one, other)) is not None]
    if not pairs and different:
        raise BadInput(f"The two runs asked {listed(different)} of different data.")
    if not pairs:
        raise BadInput(f"{str(first)!r} and {str(second)!r} have no graded row in common.")
    return Comparison(pairs, different)


def _are_of_same_rows(one: Result, other: Result) -> bool:
    """Return False if two runs asked a task of different data, as far as their records tell."""
    asked = {one.asked.rows_sha256, other.asked.rows_sha256} - {None}
    groups = {row.id: row.group for row in one.scored}
    return len(asked) < 2 and all(
        groups.get(row.id, row.group) == row.group for row in other.scored
    )


def _pair(one: Result, other: Result) -> Pair | None:
    after = {row.id: row for row in other.scored}
    before = {row.id: row for row in one.scored}
    common = sorted(before.keys() & after.keys())
    if not common:
        return None
    task = one.task
    first, second = [before[row].score for row in common], [after[row].score for row in common]
    groups = [before[row].group for row in common]
    options = {"is_macro": task.is_macro, "is_clustered": task.is_clustered}
    return Pair(
        task.name,
        estimate(first, groups, **options).value,
        estimate(second, groups, **options).value,
        difference(first, second, groups, **options),
        len(before.keys() ^ after.keys()),
    )


def as_lines(made: Comparison) -> list[str]:
    """Return the table of the pairs, in points of a hundred, and what it leaves out."""
    lines = aligned([_HEAD, *map(_cells, made.pairs)], _RIGHT)
    lines += [
        f"{one.task}: with a score in one of the runs alone: {plural(one.unpaired, 'row')}"
        for one in made.pairs
        if one.unpaired
    ]
    return lines + [f"{name}: left out: {_DIFFERENT}" for name in made.different]


def _cells(one: Pair) -> tuple[str, ...]:
    found = one.difference
    return (
        one.task,
        f"{100 * one.first:.1f}",
        f"{100 * one.second:.1f}",
        f"{100 * found.value:+.1f}",
        f"{100 * found.error:.1f}",
        f"{found.n:,}",
        f"{found.won:,}",
        f"{found.lost:,}",
        f"{found.p:.3f}",
        one.better,
    )


def as_object(made: Comparison) -> dict[str, Any]:
    """Return the pairs for JSON, and the tasks that are left out with their reason."""
    left = {name: {"verdict": "not comparable", "reason": _DIFFERENT} for name in made.different}
    return left | {
        one.task: {
            "first": round(one.first, 6),
            "second": round(one.second, 6),
            **asdict(one.difference),
            "unpaired": one.unpaired,
            "verdict": one.better,
        }
        for one in made.pairs
    }
