"""PopQA, 15-shot, graded by whether the answer has a name of what is asked for: OLMES' `popqa`."""

import json
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder, is_texts
from tulu_cli.evaluation.task import Grade, Item, Task

ROWS, SHOTS = "popqa.jsonl", "popqa-shots.jsonl"
_SHOTS_USED = 15


def items(data: DataFolder) -> list[Item]:
    """Return the rows: the shots as turns, then the question."""
    shots = [
        message
        for shot in data.read_shots(SHOTS, _SHOTS_USED)
        for message in (_asked(shot), Message("assistant", shot["answer"].strip()))
    ]
    return [
        Item(str(number), (*shots, _asked(row)), _names(row))
        for number, row in enumerate(data.read(ROWS, "possible_answers", texts=["question"]))
    ]


def _asked(row: dict[str, Any]) -> Message:
    return Message("user", f"Q: {row['question']} A:")


def _names(row: dict[str, Any]) -> list[str]:
    """Return the names of what is asked for, which the published rows hold as JSON in a text."""
    names = row["possible_answers"]
    if isinstance(names, str):
        try:
            names = json.loads(names)
        except (ValueError, RecursionError):
            names = None
    if not is_texts(names):
        raise BadInput(f"{ROWS}: possible_answers must be a list of texts, or one as JSON.")
    return list(names)


def grade(text: str, label: Any) -> Grade:
    """Look for each name as it is, in lower case and capitalised, anywhere in the answer."""
    found = (
        form for name in label for form in (name, name.lower(), name.capitalize()) if form in text
    )
    name = next(found, None)
    return Grade(float(name is not None), name)


TASK = Task(
    name="popqa",
    benchmark="PopQA",
    published_rows=14267,
    files=(ROWS, SHOTS),
    items=items,
    grade=grade,
    max_tokens=15,
    stop=("\n\n",),
)
