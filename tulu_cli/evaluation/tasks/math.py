"""MATH, 4-shot chain of thought, flexible extraction: `minerva_math::tulu` of OLMES."""

from typing import Any

from tulu_cli.core import Message
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Grade, Item, Task
from tulu_cli.verify.clocked import clocked
from tulu_cli.verify.math import verify

ROWS, SHOTS = "math.jsonl", "math-shots.jsonl"


def items(data: DataFolder) -> list[Item]:
    """Return the rows: Minerva's shots as turns, then the problem."""
    shots = [
        message
        for shot in data.read(SHOTS, texts=["problem", "solution"])
        for message in (_asked(shot["problem"]), Message("assistant", shot["solution"]))
    ]
    return [
        Item(str(number), (*shots, _asked(row["problem"])), row["answer"], row["subject"])
        for number, row in enumerate(data.read(ROWS, texts=["problem", "answer", "subject"]))
    ]


def _asked(problem: str) -> Message:
    return Message("user", f"Problem:\n{problem}\n\nSolution:")


def grade(text: str, label: Any) -> Grade:
    """Compare the boxed and Minerva's final answer, else the last formula, with the label."""
    verdict = verify(text, label, "2024")
    return Grade(verdict.score, verdict.extracted)


TASK = Task(
    name="math",
    benchmark="MATH",
    published_rows=5000,
    files=(ROWS, SHOTS),
    items=items,
    grade=grade,
    max_tokens=1024,
    is_macro=True,
    check=clocked("same-expression").check,
)
