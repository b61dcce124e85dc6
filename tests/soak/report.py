"""What each part of the soak is given, and what it says: a table, and the promises broken."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median, quantiles

MOST_SHOWN = 12  # of what was broken; one cause breaks many


@dataclass
class Share:
    """The seconds that a part may use, its seed, and a folder that goes with the soak."""

    seconds: float
    seed: int
    folder: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """True once the time is used up."""
        return time.monotonic() - self.began >= self.seconds

    def rounds(self) -> Iterator[int]:
        """Count rounds until the time is used up: at least one."""
        yield 0
        for number in count(1):
            if self.is_over:
                return
            yield number

    def random(self, name: object = "") -> random.Random:
        """Return the dice of this name, which fall as they did with the same seed."""
        return random.Random(f"{self.seed} {name}")


@dataclass
class Outcome:
    """The rows of a part's table, and a sentence for each promise that was broken."""

    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    skipped: str = ""

    def __str__(self) -> str:
        lines = (
            [f"  skipped: {self.skipped}"] if self.skipped else table([self.columns, *self.rows])
        )
        for what, times in Counter(self.broken).most_common(MOST_SHOWN):
            lines.append(f"  BROKEN: {what}" + (f" ({times} times)" if times > 1 else ""))
        if (hidden := len(set(self.broken)) - MOST_SHOWN) > 0:
            lines.append(f"  BROKEN: {hidden} more")
        return "\n".join(lines)


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the rows as lines whose columns stand below one another."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in cells
    ]


def spread(seconds: Sequence[float]) -> tuple[str, str, str]:
    """Return the median, the 95th percentile and the most."""
    if not seconds:
        return ("-", "-", "-")
    high = quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    return (f"{median(seconds):.2f}", f"{high:.2f}", f"{max(seconds):.2f}")


def keep(path: Path) -> str:
    """Copy the file that broke a promise to a place that outlives the soak, and return that."""
    if path.is_fifo():
        return f"a pipe as {path.name}"
    return str(shutil.copy2(path, tempfile.mkdtemp(prefix="tulu-soak-")))
