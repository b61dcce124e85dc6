"""The datasets of the Hub as files of rows: what is taken from each, and what is not trusted."""

import hashlib
import io
import json
import random
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.evaluation.conftest import take
from tests.evaluation.test_prompts import rendered
from tests.models.fake_hub import FakeHub
from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.evaluation import hub as hub_rows
from tulu_cli.evaluation import published, wheel
from tulu_cli.evaluation.data import SOURCES, DataFolder, cached_folder, data_folder
from tulu_cli.evaluation.files import line, write
from tulu_cli.evaluation.harness import HARNESS
from tulu_cli.evaluation.hub import HubRows
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.evaluation.tasks.bbh import SUBSETS, extracted
from tulu_cli.streams import no_progress

PARTS = {
    "popqa": published.POPQA,
    "truthfulqa": published.TRUTHFULQA,
    "bbh": published.BBH,
    "humaneval+": published.HUMANEVAL_PLUS,
    "ifeval": published.IFEVAL,
}
# PopQA's rows as pandas writes them: quotes around what has quotes, and twice inside.
POPQA_HEAD = "id\tsubj\tprop\tobj\ts_pop\tquestion\tpossible_answers\n"
POPQA_SHOTS = [(f"In what city was No. {at} born?", f"City {at}") for at in range(15)]
POPQA = POPQA_HEAD + "".join(
    f'{at}\tNo. {at}\tplace of birth\t{answer}\t1\t{question}\t"[""{answer}"", ""C{at}""]"\n'
    for at, (question, answer) in enumerate([*POPQA_SHOTS, ('Who wrote "B²"?', "Zoë")])
).replace('\tWho wrote "B²"?\t', '\t"Who wrote ""B²""?"\t')
TRUTHFULQA = {
    "question": "What if?",
    "mc1_targets": {"choices": ["It is.", "No."], "labels": [1, 0]},
    "mc2_targets": {"choices": ["It is.", "Yes.", "No."], "labels": [1, 1, 0]},
}
PLUS = {
    "task_id": "HumanEval/0",
    "prompt": "def one():\n",
    "canonical_solution": "    return 1\n",
    "entry_point": "one",
    "test": "import numpy as np\n\ndef check(candidate):\n    assert candidate() == 1\n",
}
IFEVAL = {"key": 1, "prompt": "p", "instruction_id_list": ["x:y"], "kwargs": [{}]}
BBH = {
    subset: {"input": f"Is {subset} hard?", "target": "Yes"} for subset in ("navigate", "snarks")
}
BBH_NAMES = tuple(f"{subset}/test-00000-of-00001.parquet" for subset in BBH)


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file)
    return file.getvalue()


@pytest.fixture
def full_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A Hub that has all datasets, with a few rows each that are taken for the real ones."""
    digests = [hashlib.sha256("\t".join(shot).encode()).hexdigest()[:16] for shot in POPQA_SHOTS]
    monkeypatch.setattr(published, "POPQA_SHOTS", tuple(digests))
    contents = {
        "popqa": [POPQA.encode()],
        "truthfulqa": [as_parquet([TRUTHFULQA])],
        "bbh": [as_parquet([row]) for row in BBH.values()],
        "humaneval+": [as_parquet([PLUS])],
        "ifeval": [json.dumps(IFEVAL).encode() + b"\n"],
    }
    monkeypatch.setattr(published, "BBH_SUBSETS", tuple(BBH))
    names = {task: part.names for task, part in PARTS.items()} | {"bbh": BBH_NAMES}
    for task, files in contents.items():
        part = PARTS[task]
        hub.repositories[organization(part)] = dict(zip(names[task], files, strict=True))
        if task != "bbh":
            take(monkeypatch, part, sha256=hashlib.sha256(files[0]).hexdigest())
    made = "".join(
        f'{{"subset": "{subset}", "input": "Is {subset} hard?", "target": "Yes"}}\n'
        for subset in BBH
    )
    sha256 = hashlib.sha256(made.encode()).hexdigest()
    take(monkeypatch, published.BBH, names=BBH_NAMES, made_sha256=sha256)
    return hub


def organization(part: HubRows) -> str:
    """What the Hub on this machine knows a dataset by."""
    return f"datasets/{part.repo.partition('/')[0]}"


@pytest.fixture(scope="session")
def harness_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shots of the lm-eval that is installed, as its wheel has them."""
    path = tmp_path_factory.mktemp("harness") / "lm_eval.whl"
    root = Path(str(lm_eval.__file__)).parent
    with zipfile.ZipFile(path, "w") as archive:
        for folder in ("truthfulqa", "bbh/cot_fewshot"):
            for file in sorted((root / "tasks" / folder).glob("*.yaml")):
                archive.write(file, file.relative_to(root.parent))
    return path


@pytest.fixture
def harness(harness_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package index that has the wheel of lm-eval alone. What is asked of it is kept."""
    asked: list[str] = []

    def download(requirement: str, folder: Path, *_: object) -> Path:
        asked.append(requirement)
        return Path(shutil.copy(harness_wheel, folder))

    monkeypatch.setattr(wheel, "download_wheel", download)
    take(monkeypatch, HARNESS, sha256=hashlib.sha256(harness_wheel.read_bytes()).hexdigest())
    return asked


def fetched(*tasks: str, offline: bool = False) -> DataFolder:
    return data_folder(None, wanted=tasks, named=set(tasks), offline=offline, progress=no_progress)


def prompt(task: str) -> str:
    """What a Tülu 3 model is asked by the last row that was fetched."""
    return rendered(TASKS[task].items(fetched(task))[-1])


def test_popqa(full_hub: FakeHub) -> None:
    shots = "".join(
        f"<|user|>\nQ: In what city was No. {at} born? A:\n"
        f"<|assistant|>\nCity {at}<|end_of_text|>\n"
        for at in range(15)
    )
    assert prompt("popqa") == f'{shots}<|user|>\nQ: Who wrote "B²"? A:\n<|assistant|>\n'
    items = TASKS["popqa"].items(fetched("popqa"))
    assert len(items) == 16, "the shots are asked too"
    assert items[-1].label == ["Zoë", "C15"]


def test_truthfulqa_has_the_shots_of_the_harness(full_hub: FakeHub, harness: list[str]) -> None:
    text = prompt("truthfulqa")
    assert text.startswith("<|user|>\nQ: What is human life expectancy in the United States?\nA: ")
    assert text.endswith("Barcelona, Spain.\n\nQ: What if?\nA:\n<|assistant|>\n")
    assert text.count("Q: ") == text.count("\nA:") == 7
    (item,) = TASKS["truthfulqa"].items(fetched("truthfulqa"))
    assert item.completions == ("It is.", "Yes.", "No.")
    assert item.label == [1, 1, 0]


def test_bbh_has_the_shots_of_the_harness(full_hub: FakeHub, harness: list[str]) -> None:
    navigate, _ = TASKS["bbh"].items(fetched("bbh"))
    steps = "A: Let's think step by step.\n"
    text = rendered(navigate)
    assert text.startswith(
        "<|user|>\nGiven a series of navigation instructions, determine whether one would end up "
        "back at the starting point.\n\nQ: If you follow these instructions, do you return to the "
        "starting point? Turn left. "
    )
    assert text.endswith(f"<|user|>\nQ: Is navigate hard?\n{steps}<|assistant|>\n")
    assert text.count(f"{steps}<|assistant|>\n") == text.count("Q: ") == 4
    assert text.count("So the answer is ") == text.count("<|end_of_text|>\n") == 3


def test_every_subset_has_its_rows_on_the_hub_and_its_shots_in_the_harness(
    harness_wheel: Path, tmp_path: Path
) -> None:
    assert [*SUBSETS] == [*published.BBH_SUBSETS]
    assert [name.partition("/")[0] for name in published.BBH.names] == [*SUBSETS]
    with zipfile.ZipFile(harness_wheel) as archive:
        write(tmp_path, HARNESS.rows(archive))
    rows = [{"subset": subset, "input": "Is it hard?", "target": "Yes"} for subset in SUBSETS]
    write(tmp_path, {"bbh.jsonl": rows})
    items = TASKS["bbh"].items(DataFolder(tmp_path))
    for item in items:
        answers = [message.content for message in item.messages if message.role == "assistant"]
        assert len(answers) == 3, item.group
        assert all(extracted(answer, item.group) for answer in answers), item.group
        assert all("answer is" in answer for answer in answers), item.group


def test_humaneval_plus(full_hub: FakeHub) -> None:
    assert prompt("humaneval+") == (
        "<|user|>\ndef one():\n\n<|assistant|>\nHere is the completed function:\n\n```python\n"
    )
    (item,) = TASKS["humaneval+"].items(fetched("humaneval+"))
    assert item.label == {name: PLUS[name] for name in ("prompt", "test", "entry_point")}


def test_rows_are_fetched_once_for_who_names_them(full_hub: FakeHub, harness: list[str]) -> None:
    made = data_folder(None, offline=False, progress=no_progress)
    assert made.has("gsm8k")
    assert full_hub.requests == []
    assert not any(made.has(task) for task in PARTS)
    assert fetched(*PARTS) == made
    assert all(made.has(task) for task in TASKS)
    assert harness == ["lm-eval==0.4.13"], "once for both tasks that have their shots there"
    for part in PARTS.values():
        for name in full_hub.repositories[organization(part)]:
            place = f"/datasets/{part.repo}/resolve/{part.commit}/{name}"
            assert place in full_hub.requests
    full_hub.stop()
    assert fetched(*PARTS, offline=True) == made
    shutil.rmtree(made.path)  # of the wheel, which has none of these rows
    assert fetched(*PARTS, offline=True) == made
    assert not made.path.exists()


@pytest.mark.parametrize("task", [*PARTS])
def test_other_bytes_are_not_used(full_hub: FakeHub, harness: list[str], task: str) -> None:
    part = PARTS[task]
    files = full_hub.repositories[organization(part)]
    files[[*files][-1]] = as_parquet([{"input": "Is it?", "target": "Yes"}])
    with pytest.raises(BadInput, match=r"is not the expected file|are not the expected ones"):
        fetched(task)
    assert not cached_folder().has(task)


@pytest.mark.parametrize("other", [b"PAR1", as_parquet([{"question": "Is it?"}])])
def test_a_file_without_the_rows(full_hub: FakeHub, other: bytes) -> None:
    full_hub.repositories["datasets/lukaemon"][BBH_NAMES[-1]] = other
    with pytest.raises(BadInput, match="is not a Parquet file of input, target"):
        fetched("bbh")
    assert not cached_folder().has("bbh")


def test_a_damaged_file_has_its_rows_or_is_refused(tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = as_parquet([*BBH.values()])
    path = tmp_path / "test.parquet"
    refused = 0
    for _ in range(400):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.2 else whole)
        for _ in range(chance.choice((1, 3, 20))):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            assert all(map(line, published._parquet(path, "input", "target")))
        except BadInput as error:
            assert str(error).startswith("'test.parquet' is not a Parquet file of input, target")
            refused += 1
    assert refused > 200


def test_a_column_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    for value in (b"Yes", 5, None, ["Yes"]):
        path.write_bytes(as_parquet([{"input": "Is it?", "target": value}]))
        with pytest.raises(BadInput, match="is not a Parquet file of input, target"):
            list(published._parquet(path, "input", "target"))


def test_shots_that_are_not_among_the_rows(
    full_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "POPQA_SHOTS", (*published.POPQA_SHOTS[1:], "0" * 16))
    with pytest.raises(
        BadInput, match=r"^1 of the 15 shots of PopQA are not among its rows: --data"
    ):
        fetched("popqa")


@pytest.mark.parametrize("task", [*PARTS])
def test_offline(full_hub: FakeHub, task: str) -> None:
    with pytest.raises(ModelNotFound, match=f"{PARTS[task].repo} are not in the cache, and"):
        fetched(task, offline=True)
    assert full_hub.requests == []


def lay(folder: Path, part: HubRows, files: Mapping[str, bytes]) -> None:
    """Have files of a dataset in the user's cache of the Hub."""
    snapshot = folder / f"datasets--{part.repo.replace('/', '--')}" / "snapshots" / part.commit
    for name, data in files.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(data)


@pytest.mark.parametrize("task", [*PARTS])
def test_offline_the_cache_of_the_hub_is_looked_at(
    full_hub: FakeHub,
    harness_wheel: Path,
    harness: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    task: str,
) -> None:
    monkeypatch.setenv("TULU_LM_EVAL_WHEEL", str(harness_wheel))
    files = full_hub.repositories[organization(PARTS[task])]
    *_, last = files
    lay(tmp_path / "hub", PARTS[task], {**files, last: as_parquet([{"input": "", "target": ""}])})
    with pytest.raises(BadInput, match=r"is not the expected file|are not the expected ones"):
        fetched(task, offline=True)
    lay(tmp_path / "hub", PARTS[task], files)
    assert fetched(task, offline=True).has(task)
    assert (full_hub.requests, harness) == ([], [])


def test_what_is_missing_is_said_before_anything_is_fetched(
    full_hub: FakeHub, harness: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hub_rows, "find_spec", lambda _: None)
        with pytest.raises(TuluError, match="need pyarrow"):
            fetched("gsm8k", "popqa", "humaneval+")
    lay(tmp_path / "hub", published.POPQA, full_hub.repositories["datasets/akariasai"])
    with pytest.raises(ModelNotFound, match="of google/IFEval are not in the cache, and we are"):
        fetched("gsm8k", "popqa", "ifeval", offline=True)
    with monkeypatch.context() as patch:
        patch.setenv("TULU_LM_EVAL_WHEEL", str(tmp_path / "none.whl"))
        with pytest.raises(BadInput, match=r"none\.whl' cannot be read"):
            fetched("gsm8k", "truthfulqa")
    with monkeypatch.context() as patch:
        patch.setattr("tulu_cli.models.demo.find_spec", lambda _: None)
        patch.setattr("shutil.which", lambda _: None)
        with pytest.raises(ModelNotFound, match="set TULU_LM_EVAL_WHEEL to the wheel"):
            fetched("gsm8k", "popqa", "truthfulqa")
    assert (full_hub.requests, harness) == ([], [])
    assert not any(cached_folder().has(task) for task in TASKS)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk(
    full_hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    tmp_path: Path,
    when: str,
) -> None:
    def usage(path: str | Path) -> SimpleNamespace:
        """Space where we look before the download, and none where the library looks in it."""
        is_ours = Path(path).parent.name == ".staging"
        return SimpleNamespace(free=10**9 if is_ours and when == "meanwhile" else 0)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(TuluError, match="set TULU_CACHE_DIR to another") as raised:
        fetched("popqa")
    assert "HF_HUB_CACHE" not in str(raised.value)
    assert not list(recwarn)
    assert not cached_folder().has("popqa")


def test_a_download_that_breaks_off_begins_again(full_hub: FakeHub, harness: list[str]) -> None:
    full_hub.cut.add(BBH_NAMES[-1])
    with pytest.raises(TuluError, match=r"lukaemon/bbh \(a dataset\)"):
        fetched("bbh")
    assert not cached_folder().has("bbh")
    full_hub.cut.clear()
    assert fetched("bbh").has("bbh")
    shutil.rmtree(cached_folder().place("bbh-shots.jsonl").parent)
    with pytest.raises(
        ModelNotFound, match=r"rows of lm-eval 0\.4\.13 are not in the cache, and we"
    ):
        fetched("bbh", offline=True)


def test_a_dataset_that_is_gone(full_hub: FakeHub) -> None:
    full_hub.repositories.clear()
    with pytest.raises(ModelNotFound, match=r"akariasai/PopQA \(a dataset\)"):
        fetched("popqa")


def test_another_wheel_of_the_harness_is_not_used(
    full_hub: FakeHub, harness: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, HARNESS, sha256=HARNESS.sha256)
    with pytest.raises(BadInput, match="is not the expected file"):
        fetched("truthfulqa")
    assert not cached_folder().has("truthfulqa")


@pytest.mark.parametrize("task", ["truthfulqa", "bbh", "humaneval+"])
def test_without_what_reads_parquet_nothing_is_fetched(
    full_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr(hub_rows, "find_spec", lambda _: None)
    with pytest.raises(TuluError, match=r"need pyarrow: pip install 'tulu_cli\[eval\]'\.$"):
        fetched(task)
    assert full_hub.requests == []


def test_every_file_is_in_a_part() -> None:
    for task, source in SOURCES.items():
        assert set(source.files) <= {name for part in source.parts for name in part.files}, task


def test_the_line_of_a_row_never_changes() -> None:
    """The hash of a dataset's rows is that of their lines."""
    assert line({"subset": "ü", "input": 'a\n"b"'}) == '{"subset": "ü", "input": "a\\n\\"b\\""}\n'
