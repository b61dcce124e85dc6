"""`tulu eval gsm8k` against `tulu batch` of the very prompts, both asking one warm engine.

    python -m tests.benchmarks.eval [vllm|transformers ...] [ROWS] [--pairs N]

Whole commands, from the start of the process to its end: reading the data and grading count.
"""

import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from tulu_cli.evaluation import record
from tulu_cli.models import locate, resolve

from .commands import tell, timed
from .pairs import alternate
from .report import Asked, Row, at_least, compare, run
from .serve import TULU, runtime

ENGINES = ("vllm", "transformers")
TASK = "gsm8k"
ROWS = 64
TOKENS = "32"
CONTEXT = "4096"  # eight worked examples stand before each question
PAIRS = 5


def evaluated(directory: Path, rows: int, folder: Path) -> float:
    """Seconds of `tulu eval` until all rows are graded."""
    tell("tulu eval")
    options = ["--limit", str(rows), "--max-tokens", TOKENS, "-o", str(folder), "--overwrite"]
    return timed([*TULU, "eval", str(directory), TASK, *options])


def answered(directory: Path, folder: Path) -> float:
    """Seconds of `tulu batch` of the prompts that `tulu eval` has written."""
    tell("tulu batch")
    files = [str(record.prompts(folder, TASK)), "-o", str(folder / "batch.jsonl"), "--overwrite"]
    return timed([*TULU, "batch", "-m", str(directory), *files])


def measure(engine: str, rows: int, pairs: int) -> Row:
    """Rows a second of both."""
    directory = locate(resolve("demo")).directory
    with runtime(), tempfile.TemporaryDirectory() as name:
        tell(f"starting {engine}")
        start = ["serve", str(directory), "--engine", engine, "--max-model-len", CONTEXT]
        subprocess.run([*TULU, *start, "--detach"], check=True, stderr=subprocess.DEVNULL)
        folder = Path(name)
        ours = partial(evaluated, directory, rows, folder)
        # What is measured first writes the prompts, and fills the cache of the shots for both.
        ours()
        rounds = alternate(
            {"ours": ours, "tulu batch": partial(answered, directory, folder)}, pairs
        )
    rates = rounds.each(lambda seconds: rows / seconds)
    what = f"tulu eval {TASK}, {engine}, {rows} rows of {TOKENS} tokens"
    return compare(rates, what, "ours", "tulu batch", "rows/s", at_least(0.97))


def main(asked: Asked) -> list[Row]:
    """The engines that are named, or both."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    rows = asked.number(ROWS)
    return [measure(engine, rows, asked.pairs) for engine in asked.chosen(ENGINES) or ENGINES]


if __name__ == "__main__":
    run(main, words=ENGINES, number="ROWS", pairs=PAIRS)
