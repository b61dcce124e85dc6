"""Small files of rows, as --data takes them: made up, and each in the form of its benchmark."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]

GSM8K_SHOTS: Rows = [
    {"question": "One and one?", "answer": "1 + 1 = 2. So the answer is 2."},
    {"question": "Two and two?", "answer": "2 + 2 = 4. So the answer is 4."},
]
MATH_SHOTS: Rows = [
    {"problem": "What is $1+1$?", "solution": "It is $\\boxed{2}$.\nFinal Answer: $2$."}
]
DROP_SHOTS: Rows = [
    {"passage": f"Team {name} won.", "question": "Who won?", "answer": f"Team {name}"}
    for name in "ABCDE"
]
ADD = {
    "task_id": "HumanEval/0",
    "prompt": "def add(a, b):\n    '''Return the sum.'''\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "entry_point": "add",
}


def write(path: Path, rows: Rows) -> None:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def folder(
    path: Path,
    *,
    gsm8k: Rows = (),
    math: Rows = (),
    mmlu: Rows = (),
    drop: Rows = (),
    humaneval: Rows = (),
) -> Path:
    """A folder with the rows of the benchmarks that are given, and their shots."""
    path.mkdir(exist_ok=True)
    write(path / "gsm8k-shots.jsonl", GSM8K_SHOTS)
    write(path / "math-shots.jsonl", MATH_SHOTS)
    write(path / "drop-shots.jsonl", DROP_SHOTS)
    given = {"gsm8k": gsm8k, "math": math, "mmlu": mmlu, "drop": drop, "humaneval": humaneval}
    for name, rows in given.items():
        if rows:
            write(path / f"{name}.jsonl", rows)
    return path
