"""Caches: disks without room, folders closed to us, models in part, damaged, and whole."""

import json
import shutil
from pathlib import Path

import pytest

from tulu_cli.doctor.storage import (
    CachedModel,
    Place,
    judge_model,
    judge_place,
    judge_storage,
    read_cached_model,
    read_models,
    read_place,
)

GIB = 2**30
COMMIT = "c" * 40


@pytest.mark.parametrize(
    ("free", "writable", "level", "said"),
    [
        (100 * GIB, True, "ok", "100.0 GiB free for models in /c."),
        (3 * GIB, True, "note", "too little for the weights of an 8B model"),
        (GIB // 2, True, "problem", "Only 0.5 GiB free"),
        (100 * GIB, False, "problem", "/c cannot be written"),
    ],
)
def test_a_disk(free: int, writable: bool, level: str, said: str) -> None:
    found = judge_place(Place("models", Path("/c"), free, writable, "HF_HOME"))
    assert (found.level, said in found.said) == (level, True)
    assert (found.mend == "export HF_HOME=...") == (level == "problem")


@pytest.mark.parametrize(
    ("model", "offline", "level", "said"),
    [
        (CachedModel("a/b"), True, "ok", "a/b is whole"),
        (CachedModel("a/b", ("x", "y")), False, "note", "lacks x, y"),
        (CachedModel("a/b", ("x",)), True, "problem", "lacks x"),
        (CachedModel("a/b", ("x",), weights=False), True, "note", "no weights"),
        (CachedModel("a/b", failure="bad index."), False, "problem", "damaged: bad index."),
    ],
)
def test_a_model(model: CachedModel, offline: bool, level: str, said: str) -> None:
    found = judge_model(model, offline=offline)
    assert (found.level, said in found.said) == (level, True)
    assert found.mend == (None if level == "ok" else "tulu models pull a/b")


def test_a_converted_model_is_made_again_without_a_command() -> None:
    (found,) = judge_storage((), [CachedModel("x", ("y",), hub=False)], offline=False)
    assert (found.level, found.mend) == ("note", None)


def snapshot(hub: Path, repository: str) -> Path:
    path = hub / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
    path.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text("{}")
    return path


def sharded(path: Path, index: object) -> None:
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def test_the_models_of_both_caches(tmp_path: Path) -> None:
    hub, converted = tmp_path / "hub", tmp_path / "converted"
    shards = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (snapshot(hub, "o/whole") / "model.safetensors").touch()
    part = snapshot(hub, "o/part--ly")
    sharded(part, shards)
    (part / "1.safetensors").touch()
    gone = snapshot(hub, "o/gone")
    (gone / "model.safetensors").symlink_to("../../blobs/gone")
    sharded(snapshot(hub, "o/spoiled"), {"weight_map": 3})
    snapshot(hub, "o/texts")
    shutil.copytree(part, converted / "demo-1")
    (converted / ".staging").mkdir()
    found = {model.name.removesuffix(f"@{COMMIT}"): model for model in read_models(hub, converted)}
    assert list(found) == ["o/gone", "o/part--ly", "o/spoiled", "o/texts", "o/whole", "demo-1"]
    assert found["o/whole"].missing == ()
    assert found["o/part--ly"].missing == ("2.safetensors",)
    assert found["o/gone"].missing == ("*.safetensors",)
    assert "does not say which files" in str(found["o/spoiled"].failure)
    assert not found["o/texts"].weights
    assert not found["demo-1"].hub
    assert "@" in read_models(hub, converted)[0].name


def test_the_demo_is_whole(demo_directory: Path) -> None:
    assert read_cached_model("demo", demo_directory, hub=False) == CachedModel("demo", hub=False)


def test_no_caches_yet(tmp_path: Path) -> None:
    assert read_models(tmp_path / "a", tmp_path / "b") == []
    place = read_place("models", tmp_path / "not" / "yet", "X")
    assert place.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert place.writable


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert not read_place("models", tmp_path / "cache", "X").writable
