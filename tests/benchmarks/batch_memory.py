"""Memory and speed of `tulu batch` itself, on the engine without a model: many rows and few.

python -m tests.benchmarks.batch_memory [ROWS]
"""

import json
import sys
import tempfile
from pathlib import Path

from .report import Row, at_most, print_rows
from .turns import peak_memory

FEW = 1_000
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


def main(count: int = 1_000_000) -> None:
    """So many rows against FEW."""
    with tempfile.TemporaryDirectory() as folder:
        few, few_speed, few_resumed = measure(Path(folder), FEW)
        many, speed, resumed = measure(Path(folder), count)
    same, peer = at_most(30, "more"), f"{FEW:,} rows"
    print_rows(
        [
            Row(f"peak memory of tulu batch, {count:,} rows", many, peer, few, "MB", same),
            Row(f"peak memory of --resume, {count:,} rows", resumed, peer, few_resumed, "MB", same),
            Row(f"tulu batch without a model, {count:,} rows", speed, peer, few_speed, "rows/s"),
        ]
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
