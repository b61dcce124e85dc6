"""DROP, 3-shot, graded by its official F1: `drop::llama3` of OLMES, on the rows that are here."""

import re
import string
from collections.abc import Sequence
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder, is_texts
from tulu_cli.evaluation.task import Grade, Item, Task

ROWS, SHOTS = "drop.jsonl", "drop-shots.jsonl"
_SHOTS_USED = 3
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def items(data: DataFolder) -> list[Item]:
    """Return the rows: the shots and the question in one block."""
    shots = "".join(
        f"{_asked(shot)} {shot['answer']}\n\n"
        for shot in data.read(SHOTS, texts=["passage", "question", "answer"])[:_SHOTS_USED]
    )
    return [
        Item(
            str(number),
            (Message("user", shots + _asked(row)),),
            _answers(row),
            row["passage"][:_OPENING],
        )
        for number, row in enumerate(data.read(ROWS, "answers", texts=["passage", "question"]))
    ]


_OPENING = 200  # characters that tell passages apart


def _asked(row: dict[str, Any]) -> str:
    return f"Passage: {row['passage']}\nQuestion: {row['question']}\nAnswer:"


def _answers(row: dict[str, Any]) -> list[list[str]]:
    answers = row["answers"]
    if not isinstance(answers, list) or not answers or not all(map(is_texts, answers)):
        raise BadInput(f"{ROWS}: answers must be a list of lists of texts: one is {answers!r}.")
    return answers


def grade(text: str, label: Any) -> Grade:
    """Return the best F1 of an answer over the labels, each of which is a list of spans."""
    return Grade(max(f1(text, spans) for spans in label), text.strip())


def f1(text: str, spans: Sequence[str]) -> float:
    """Return the F1 of a text against spans, of which it can be at most one, to two digits."""
    found = _bag(text)
    best = max(_overlap(found, _bag(span)) for span in spans)
    return round(best / len(spans), 2)


def _overlap(found: set[str], gold: set[str]) -> float:
    """Return the F1 of two bags of words; 0 where the numbers of the second are others."""
    numbers = {word for word in gold if _is_number(word)}
    if numbers and not numbers & {word for word in found if _is_number(word)}:
        return 0.0
    common = len(found & gold)
    precision = common / len(found) if found else 1.0
    recall = common / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _bag(text: str) -> set[str]:
    words = (_normal(word) for word in re.split("[ -]", text))
    return {part for word in words for part in word.split()}


def _normal(word: str) -> str:
    word = word.lower()
    if not _is_number(word):
        word = word.translate(_NO_PUNCTUATION)
    if _is_number(word):
        word = str(float(word))
    return _ARTICLES.sub(" ", word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


TASK = Task(
    name="drop",
    benchmark="DROP",
    published_rows=9536,
    files=(ROWS, SHOTS),
    items=items,
    grade=grade,
    max_tokens=50,
    stop=("Passage:", "Question:"),
    measure="F1",
    is_clustered=True,
    differs=(
        "the shots are OLMES' first three fixed ones, not drawn from the training rows",
        "1,000 of the 9,536 rows are published with the data",
    ),
)
