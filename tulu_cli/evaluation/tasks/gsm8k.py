"""GSM8K, 8-shot chain of thought: `gsm8k::tulu` of OLMES."""

from typing import Any

from tulu_cli.core import Message
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Grade, Item, Task
from tulu_cli.verify.gsm8k import verify

ROWS, SHOTS = "gsm8k.jsonl", "gsm8k-shots.jsonl"
PREFIX = "Answer:"


def items(data: DataFolder) -> list[Item]:
    """Return the rows: the shots as turns, and an answer that has begun."""
    shots = [
        message
        for shot in data.read(SHOTS, texts=["question", "answer"])
        for message in (
            Message("user", f"Question: {shot['question']}"),
            Message("assistant", f"{PREFIX} {shot['answer']}"),
        )
    ]
    return [
        Item(
            str(number),
            (*shots, Message("user", f"Question: {row['question']}"), Message("assistant", PREFIX)),
            row["short_answer"].replace(",", ""),
        )
        for number, row in enumerate(data.read(ROWS, texts=["question", "short_answer"]))
    ]


def grade(text: str, label: Any) -> Grade:
    """Compare the last number with the label, as texts: an integer loses its sign, as there."""
    verdict = verify(text, label, "2024")
    return Grade(verdict.score, verdict.extracted)


TASK = Task(
    name="gsm8k",
    benchmark="GSM8K",
    published_rows=1319,
    files=(ROWS, SHOTS),
    items=items,
    grade=grade,
    max_tokens=512,
    stop=("Question:", "</s>", "<|im_end|>"),
)
