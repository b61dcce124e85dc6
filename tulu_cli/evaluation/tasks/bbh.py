"""BIG-Bench Hard, 3-shot chain of thought, over all rows of its subsets: OLMES' `bbh:cot-v1`."""

import re
import string
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Grade, Item, Task

ROWS, SHOTS = "bbh.jsonl", "bbh-shots.jsonl"
_SHOTS_USED = 3
_FIELDS = ("subset", "input", "target")
_STEPS = "Let's think step by step."
_LETTER = r"\([A-Z]\)"
_YES_NO = "[yY]es|[nN]o"
# What the answers of a subset look like.
SUBSETS = {
    "boolean_expressions": "[tT]rue|[fF]alse",
    "causal_judgement": _YES_NO,
    "date_understanding": _LETTER,
    "disambiguation_qa": _LETTER,
    "dyck_languages": r"[\]\)\}\> ]+",
    "formal_fallacies": "[iI]nvalid|[vV]alid",
    "geometric_shapes": _LETTER,
    "hyperbaton": _LETTER,
    "logical_deduction_five_objects": _LETTER,
    "logical_deduction_seven_objects": _LETTER,
    "logical_deduction_three_objects": _LETTER,
    "movie_recommendation": _LETTER,
    "multistep_arithmetic_two": r"-?\d+",
    "navigate": "[nN]o|[yY]es",
    "object_counting": r"\d+",
    "penguins_in_a_table": _LETTER,
    "reasoning_about_colored_objects": _LETTER,
    "ruin_names": _LETTER,
    "salient_translation_error_detection": _LETTER,
    "snarks": _LETTER,
    "sports_understanding": _YES_NO,
    "temporal_sequences": _LETTER,
    "tracking_shuffled_objects_five_objects": _LETTER,
    "tracking_shuffled_objects_seven_objects": _LETTER,
    "tracking_shuffled_objects_three_objects": _LETTER,
    "web_of_lies": _YES_NO,
    "word_sorting": "[a-z ]+",
}
# Tried in this order; the last match of a pattern counts. That the fourth asks for a backspace,
# which no answer has, is part of the definition.
_PATTERNS = (
    r"(?i)So the answer is (%s)\.?",
    r"(?i)answer is (%s)",
    r"(?i)answer:.*?(%s)",
    "(?i)answer\b.*?(%s)",
    "(%s)",
)
_LONE_LETTER, _ANY_CASE = r"\b([A-Z])\b", "(?i)(%s)"
_AROUND = (
    ("$", "$"),
    (r"\(", r"\)"),
    ("(", ")"),
    ("**", "**"),
    ("***", "***"),
    (r"\[", r"\]"),
    ("'", "'"),
    ("`", "`"),
    ('"', '"'),
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def items(data: DataFolder) -> list[Item]:
    """Return the rows of all subsets: the shots of a subset as turns, then the question."""
    rows = data.read(ROWS, texts=_FIELDS)
    if unknown := next((row["subset"] for row in rows if row["subset"] not in SUBSETS), None):
        raise BadInput(f"{ROWS}: {unknown!r} is not a subset of BIG-Bench Hard.")
    shots: dict[str, list[dict[str, Any]]] = {}
    for shot in data.read(SHOTS, texts=_FIELDS):
        shots.setdefault(shot["subset"], []).append(shot)
    before = {
        subset: _turns(subset, shots.get(subset, [])) for subset in {r["subset"] for r in rows}
    }
    return [
        Item(
            str(number),
            (*before[row["subset"]], _asked(row)),
            {"subset": row["subset"], "target": _target(row["target"])},
            row["subset"],
        )
        for number, row in enumerate(rows)
    ]


def _turns(subset: str, shots: list[dict[str, Any]]) -> list[Message]:
    """Return the shots of a subset as turns, what it is about in front. Raise BadInput."""
    about = shots[0].get("description") if shots else None
    if len(shots) < _SHOTS_USED or not isinstance(about, str) or not about.strip():
        raise BadInput(
            f"{SHOTS} must have {_SHOTS_USED} shots of {subset}, the first with its description."
        )
    turns: list[Message] = []
    for shot in shots[:_SHOTS_USED]:
        begins = f"{about.strip()}\n\n" if not turns else ""
        answer = shot["target"].removeprefix(_STEPS).strip()
        turns += [_asked(shot, begins), Message("assistant", answer)]
    return turns


def _asked(row: dict[str, Any], begins: str = "") -> Message:
    return Message("user", f"{begins}Q: {row['input']}\nA: {_STEPS}")


def _target(text: str) -> str:
    """Return the answer of a target, which may be a sentence that ends with it."""
    match = re.search(r"(?<=answer is )(.*)(?=.)", text)
    return match[0] if match else text


def grade(text: str, label: Any) -> Grade:
    """Compare what looks like an answer with the label, without case and punctuation.

    So a number loses its sign. Only the brackets of dyck_languages count.
    """
    found, target = extracted(text, label["subset"]), label["target"]
    same = _plain(found, label["subset"]) == _plain(target, label["subset"])
    return Grade(float(same), found or None)


def extracted(text: str, subset: str) -> str:
    """Return the answer that a text gives, without what stands around it; empty for none."""
    answer = SUBSETS[subset]
    patterns = [*_PATTERNS, *([_LONE_LETTER] if answer == _LETTER else []), _ANY_CASE]
    matches = (re.findall(pattern.replace("%s", answer), text) for pattern in patterns)
    found: str = next(filter(None, matches), [""])[-1]
    for left, right in _AROUND:
        if not re.match(answer, left):
            found = re.sub(rf"^{re.escape(left)}(.*){re.escape(right)}$", r"\1", found).strip()
    return f"({found})" if answer == _LETTER and len(found) == 1 else found


def _plain(text: str, subset: str) -> str:
    text = text.lower()
    return text if subset == "dyck_languages" else text.translate(_NO_PUNCTUATION)


TASK = Task(
    name="bbh",
    benchmark="BigBenchHard",
    published_rows=6511,
    files=(ROWS, SHOTS),
    items=items,
    grade=grade,
    max_tokens=512,
)
