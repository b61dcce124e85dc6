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
PLUS = {
    **ADD,
    "test": "import numpy\ndef check(candidate):\n    assert numpy.isclose(candidate(1, 2), 3)\n",
}
POPQA_SHOTS: Rows = [{"question": f"Who is {at}?", "answer": f" {at}"} for at in range(15)]
TRUTHFULQA_SHOTS: Rows = [
    {"question": f"Is {name} true?", "answer": f"Not {name}."} for name in "ABCDEF"
]
TRUTHFULQA = {
    "question": "Is it?",
    "mc2_targets": {"choices": [" It is not.", "No.", "It is."], "labels": [1, 1, 0]},
}
BBH_SHOTS: Rows = [
    {
        "subset": "navigate",
        "description": "Do you return?\n\n",
        "input": f"Take {at} steps.",
        "target": f"Let's think step by step.\nThere are {at}. So the answer is No.",
    }
    for at in (1, 2, 3, 4)
]
IFEVAL = {
    "key": 1000,
    "prompt": "Write without commas.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{"num_words": None}, {"relation": "less than", "num_words": 5}],
}


def write(path: Path, rows: Rows) -> None:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def folder(path: Path, **given: Rows) -> Path:
    """A folder with the rows of the benchmarks that are given, and the shots of all."""
    path.mkdir(exist_ok=True)
    shots = {
        "gsm8k": GSM8K_SHOTS,
        "math": MATH_SHOTS,
        "drop": DROP_SHOTS,
        "popqa": POPQA_SHOTS,
        "truthfulqa": TRUTHFULQA_SHOTS,
        "bbh": BBH_SHOTS,
    }
    for name, rows in shots.items():
        write(path / f"{name}-shots.jsonl", rows)
    for name, rows in given.items():
        write(path / f"{name}.jsonl", rows)
    return path
