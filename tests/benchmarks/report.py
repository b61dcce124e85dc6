"""How a benchmark says what it measured: a table for people, and one JSON line."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure beside its peer's, in `unit`, and the ratio that the goal speaks of."""

    what: str
    ours: float
    peer: float
    unit: str
    ratio: float
    goal: str


def print_rows(rows: list[Row]) -> None:
    """The table, then the same as JSON on the last line."""
    for row in rows:
        print(
            f"{row.what}: {row.ours:.4g} {row.unit} against {row.peer:.4g} {row.unit}, "
            f"ratio {row.ratio:.2f} (goal {row.goal})"
        )
    print(json.dumps([asdict(row) for row in rows]))


def median(measure: Callable[[], float], times: int) -> float:
    """The median of so many measurements."""
    return statistics.median(measure() for _ in range(times))
