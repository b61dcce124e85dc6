"""The figures of all runs as one table in Markdown, a table for each machine.

    python -m tests.benchmarks.table [FILE]

Of a figure that was measured more than once, the last counts. A figure is the median of what the
pairs say; ours and the peer's are medians of their own, so that it need not be their quotient.
"""

import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .report import (
    Goal,
    Row,
    figures_path,
    number,
    shown_figure,
    shown_goal,
    shown_interval,
    shown_met,
)

HEAD = ("what", "ours", "peer", "figure", "its median lies in", "goal", "", "command")


class Figure(NamedTuple):
    """A row with the command, the day and the machine that it was measured by and on."""

    row: Row
    command: str
    day: str
    machine: str


def read_figures(lines: Iterable[str]) -> list[Figure]:
    """The last of each figure, in the order in which they were first measured."""
    last: dict[tuple[str, ...], Figure] = {}
    for run in map(json.loads, lines):
        machine, module = shown_machine(run["machine"]), run["command"].split()[2]
        for values in run["rows"]:
            row = read_row(values)
            figure = Figure(row, run["command"], run["date"][:10], machine)
            last[machine, module, row.what, row.peer_name] = figure
    return list(last.values())


def read_row(values: dict[str, Any]) -> Row:
    """A row as it was kept; before figures were paired, each side was one number."""
    sides = {
        side: values[side] if isinstance(values[side], list) else [values[side]]
        for side in ("ours", "peer")
    }
    return Row(**values | sides | {"goal": Goal(**values["goal"])})


def shown_machine(machine: dict[str, Any]) -> str:
    """One line on what the figures were measured on."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}, {packages}"
    )


def tables(figures: list[Figure]) -> Iterator[str]:
    """The lines: of each machine when and what it is, then its table."""
    for count, machine in enumerate(dict.fromkeys(figure.machine for figure in figures)):
        here = [figure for figure in figures if figure.machine == machine]
        days = sorted({figure.day for figure in here})
        if count:
            yield ""
        yield f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, {machine}"
        yield ""
        yield line(HEAD)
        yield "|---" * len(HEAD) + "|"
        yield from map(line_of, here)


def line_of(figure: Figure) -> str:
    """A figure as a row of the table."""
    row = figure.row
    ours, peer = (f"{number(statistics.median(side))} {row.unit}" for side in (row.ours, row.peer))
    judged = shown_figure(row), shown_interval(row), shown_goal(row), shown_met(row)
    return line((row.what, ours, f"{row.peer_name}: {peer}", *judged, f"`{figure.command}`"))


def line(cells: Iterable[str]) -> str:
    """Cells as Markdown; a bar in one would end it."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(path: Path) -> None:
    """Print them."""
    with path.open(encoding="utf-8") as file:
        print("\n".join(tables(read_figures(file))))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else figures_path())
