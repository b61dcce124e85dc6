"""kill -9 of `tulu batch` at random moments, then --resume to the end: what became of the rows.

    python -m tests.benchmarks.batch_kill [fake|transformers|vllm ...] [KILLS]

With the engine without a model the kills fall anywhere, in its start and in the reading of what is
finished too; a real engine is killed after it has written, as most of its time is loading.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.program import environment
from tulu_cli.models import locate, resolve

from .report import Asked, Row, at_most, run

KILLS = {"fake": 50, "transformers": 5, "vllm": 5}
ROWS = {"fake": 150_000, "transformers": 192, "vllm": 192}
BAD_EVERY = 1_000  # one row in so many cannot be answered, whose record counts as well
LONGEST_SECONDS = 3.0
BAD_INPUT = 65


class Fate(NamedTuple):
    """What the killed runs left beside an uninterrupted one, in rows."""

    duplicates: int
    losses: int
    differences: int


def write_rows(path: Path, count: int) -> None:
    """Texts to complete, and here and there a row that asks nothing."""
    with path.open("w") as file:
        for number in range(1, count + 1):
            key = "text" if number % BAD_EVERY else "question"
            file.write(f'{{"{key}": "The number {number} is", "id": {number}}}\n')


def batch(engine: str, rows: Path, records: Path) -> list[str]:
    """Greedy, in float32, in which an answer does not depend on what is computed beside it."""
    command = [sys.executable, "-m", "tulu_cli", "batch", str(rows), "-o", str(records)]
    command += ["--resume", "--engine", engine, "-m", str(locate(resolve("demo")).directory)]
    command += ["--greedy", "--max-tokens", "1" if engine == "fake" else "16", "--no-server"]
    return command if engine == "fake" else [*command, "--dtype", "float32"]


def finish(command: list[str]) -> None:
    """Run to the end."""
    done = subprocess.run(command, env=environment(), stderr=subprocess.PIPE, check=False)
    if done.returncode not in (0, BAD_INPUT):
        raise RuntimeError(f"{done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")


def kill_once(command: list[str], records: Path, seconds: float, *, written: bool) -> bool | None:
    """Kill it after a time; whether it had written, None where it had ended before.

    With `written` the time counts from its first record on.
    """
    before = size(records)
    with subprocess.Popen(
        command, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while written and size(records) == before and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return size(records) > before
    return None


def size(path: Path) -> int:
    """Bytes of a file that may not be there yet."""
    return path.stat().st_size if path.exists() else 0


def kill_often(engine: str, kills: int, folder: Path) -> tuple[Fate, int]:
    """Kill so often, finishing and beginning anew where rows run out; and how many had written."""
    rows, whole, records = (folder / f"{engine}.{name}" for name in ("jsonl", "whole", "killed"))
    write_rows(rows, ROWS[engine])
    finish(batch(engine, rows, whole))
    wrote: list[bool] = []
    fate = Fate(0, 0, 0)
    while len(wrote) < kills:
        records.unlink(missing_ok=True)
        while len(wrote) < kills:
            seconds = random.uniform(0, LONGEST_SECONDS)
            had = kill_once(
                batch(engine, rows, records), records, seconds, written=engine != "fake"
            )
            if had is None:
                break
            wrote.append(had)
        finish(batch(engine, rows, records))
        found = compare(whole, records)
        fate = Fate(*(one + other for one, other in zip(fate, found, strict=True)))
    return fate, sum(wrote)


def compare(whole: Path, records: Path) -> Fate:
    """The records of the killed runs beside those of the uninterrupted one."""
    expected, found = (path.read_bytes().splitlines() for path in (whole, records))
    keys = set(map(key_of, found))
    losses = set(map(key_of, expected)) - keys
    return Fate(len(found) - len(keys), len(losses), len(set(found) - set(expected)))


def key_of(record: bytes) -> bytes:
    """What row a record answers: its key is the last of its values."""
    return record.rpartition(b'"key": ')[2]


def figures(engine: str, kills: int, folder: Path) -> list[Row]:
    """What became of the rows."""
    fate, wrote = kill_often(engine, kills, folder)
    where = f"after {kills} kill -9 of tulu batch, {engine}, {ROWS[engine]:,} rows"
    zero, peer = at_most(0, "ours"), "an uninterrupted run"
    return [
        Row(f"{name} {where}", [count], peer, [0], "rows", zero)
        for name, count in fate._asdict().items()
    ] + [Row(f"kills after it had written, {engine}", [wrote], "all kills", [kills], "kills")]


def main(asked: Asked) -> list[Row]:
    """The engines that are named, else the one without a model and transformers."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for engine in asked.chosen(KILLS) or ["fake", "transformers"]:
            rows += figures(engine, asked.number(KILLS[engine]), Path(folder))
    return rows


if __name__ == "__main__":
    run(main, words=KILLS, number="KILLS")
