"""MMLU, 0-shot chain of thought: `mmlu:0shot_cot::tulu3` of OLMES."""

import re
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder, is_texts
from tulu_cli.evaluation.task import Grade, Item, Task

ROWS = "mmlu.jsonl"
LETTERS = "ABCD"
# The prompt is part of the definition: every character of it.
_BEFORE = (
    "Answer the following multiple-choice question by giving the correct answer letter in "
    "parentheses. Provide CONCISE reasoning for the answer, and make sure to finish the response "
    'with "Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of (A), (B), '
    "(C), (D).\n\n"
)
_BEHIND = (
    "\nAnswer the above question and REMEMBER to finish your response with the exact phrase "
    '"Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of (A), (B), (C), '
    "(D)."
)
_PHRASE = re.compile(r"Therefore, the answer is \(([A-D])\)")
# Tried in this order where the phrase is missing; the first match of a pattern counts.
_BACKUPS = (
    re.compile(r"(?i)therefore,?\s*the\s*answer\s*is:?\s*\(?([A-D])\b"),
    re.compile(r"(?i)answer\s*is:?\s*\(?([A-D])\b"),
    re.compile(r"(?i)([A-D])\)?\s+is\s+correct"),
    re.compile(r"\(([A-D])\)"),
    re.compile(r".*\b([A-D])\b"),
)


def items(data: DataFolder) -> list[Item]:
    """Return the rows of all subjects."""
    return [
        Item(str(number), (Message("user", prompt(row)),), _letter(row), row["subject"])
        for number, row in enumerate(
            data.read(ROWS, "choices", "answer", texts=["question", "subject"])
        )
    ]


def prompt(row: dict[str, Any]) -> str:
    """Return the question with its choices, between the instructions. Raise BadInput."""
    if not is_texts(row["choices"]):
        raise BadInput(f"{ROWS}: choices must be a list of texts, and one is {row['choices']!r}.")
    choices = "".join(
        f" ({letter}) {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=False)
    )
    return f"{_BEFORE}Question: {row['question']}\n{choices}{_BEHIND}"


def _letter(row: dict[str, Any]) -> str:
    answer = row["answer"]
    if type(answer) is not int or not 0 <= answer < len(LETTERS):
        raise BadInput(f"{ROWS}: an answer must be 0 to 3, and one is {answer!r}.")
    return LETTERS[answer]


def grade(text: str, label: Any) -> Grade:
    """Compare the letter of the last phrase that was asked for, or of a backup, with the label."""
    found = extracted(text)
    return Grade(float(found == label), found)


def extracted(text: str) -> str | None:
    """Return the letter that an answer chooses, None for none."""
    if phrases := _PHRASE.findall(text):
        return str(phrases[-1])
    match = next(filter(None, (pattern.search(text) for pattern in _BACKUPS)), None)
    return None if match is None else match[1].upper()


TASK = Task(
    name="mmlu",
    benchmark="MMLU",
    published_rows=14042,
    files=(ROWS,),
    items=items,
    grade=grade,
    max_tokens=2048,
    is_macro=True,
)
