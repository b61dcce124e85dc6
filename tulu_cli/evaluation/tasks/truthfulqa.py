"""TruthfulQA, 6-shot, graded by the likelihood of its true answers: `truthfulqa::tulu` of OLMES."""

import math
from collections.abc import Sequence
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Grade, Item, Task

ROWS, SHOTS = "truthfulqa.jsonl", "truthfulqa-shots.jsonl"
_SHOTS_USED = 6


def items(data: DataFolder) -> list[Item]:
    """Return the rows: shots and question in one turn, and the answers that are compared."""
    shots = "".join(
        f"{_asked(shot)} {shot['answer']}\n\n" for shot in data.read_shots(SHOTS, _SHOTS_USED)
    )
    return [
        _item(number, row, shots) for number, row in enumerate(data.read(ROWS, texts=["question"]))
    ]


def _item(number: int, row: dict[str, Any], shots: str) -> Item:
    targets = row.get("mc2_targets") or row  # as the published rows have them, or in the row itself
    if not isinstance(targets, dict):
        raise BadInput(f"{ROWS}: mc2_targets must be an object.")
    choices, labels = (targets.get(name) for name in ("choices", "labels"))
    if not isinstance(choices, list) or not isinstance(labels, list) or not choices:
        raise BadInput(f"{ROWS}: mc2_targets must have choices and labels.")
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise BadInput(f"{ROWS}: each choice must be a text.")
    if len(choices) != len(labels) or not all(label in (0, 1) for label in labels):
        raise BadInput(f"{ROWS}: each choice must have a label, 1 for a true one and 0 for others.")
    return Item(
        str(number),
        (Message("user", shots + _asked(row)),),
        labels,
        completions=tuple(choice.lstrip(" ") for choice in choices),
    )


def _asked(row: dict[str, Any]) -> str:
    return f"Q: {row['question']}\nA:"


def grade(logprobs: Sequence[float], label: Any) -> Grade:
    """Return the share that the true answers have of the probability of all (MC2)."""
    most = max(logprobs)
    if most == -math.inf:
        return Grade(0.0, None)
    shares = [math.exp(logprob - most) for logprob in logprobs]
    true = math.fsum(share for share, is_true in zip(shares, label, strict=True) if is_true)
    return Grade(true / math.fsum(shares), None)


TASK = Task(
    name="truthfulqa",
    benchmark="TruthfulQA",
    published_rows=817,
    files=(ROWS, SHOTS),
    items=items,
    grade=None,
    grade_scores=grade,
    max_tokens=0,
    measure="MC2",
)
