"""Memory and speed of `tulu batch` itself, on the engine without a model: many rows and few.

python -m tests.benchmarks.batch_memory [ROWS]
"""

import json
import sys
import tempfile
from pathlib import Path

from .busy import watched
from .commands import peak_memory
from .report import Asked, Row, at_most, run

FEW, ROWS = 1_000, 1_000_000
BATCH = [sys.executable, "-m", "tulu_cli", "batch", "--engine", "fake", "-m", "demo"]


def write_rows(path: Path, count: int) -> None:
    """Texts of a few tokens."""
    with path.open("w") as file:
        file.writelines(json.dumps({"text": str(number)}) + "\n" for number in range(count))


def measure(folder: Path, count: int) -> tuple[float, float, float]:
    """Peak MB of answering so many rows, rows a second, and peak MB of a resume of the finished."""
    rows, records, stats = (folder / f"{count}.{name}" for name in ("jsonl", "out", "stats"))
    write_rows(rows, count)
    command = [*BATCH, str(rows), "-o", str(records), "--max-tokens", "1", "--stats", str(stats)]
    answered = peak_memory(command)
    speed = json.loads(stats.read_text())["rows_per_second"]
    resumed = peak_memory([*command, "--resume"])
    assert json.loads(stats.read_text())["finished_before"] == count
    return answered, speed, resumed


def main(asked: Asked) -> list[Row]:
    """So many rows against FEW."""
    count = asked.number(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        few, few_speed, few_resumed = measure(Path(folder), FEW)
        (many, speed, resumed), busy = watched(lambda: measure(Path(folder), count))
    same, peer = at_most(30, "more"), f"{FEW:,} rows"
    memory, again, rate = (
        f"{what}, {count:,} rows"
        for what in (
            "peak memory of tulu batch", "peak memory of --resume", "tulu batch without a model"
        )
    )  # fmt: skip
    return [
        Row(memory, [many], peer, [few], "MB", same),
        Row(again, [resumed], peer, [few_resumed], "MB", same),
        Row(rate, [speed], peer, [few_speed], "rows/s", busy=busy),
    ]


if __name__ == "__main__":
    run(main, number="ROWS")
