"""The cache: built once, by one, whole or not at all."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tulu_cli.disk import cache_root
from tulu_cli.errors import TuluError
from tulu_cli.models import no_progress
from tulu_cli.models.cache import build_once

WAIT_SECONDS = 20


def write_model(staging: Path) -> Path:
    directory = staging / "model"
    directory.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (directory / name).write_text("{}")
    return directory


def leftovers(cache: Path) -> list[Path]:
    return list((cache / "converted" / ".staging").iterdir())


def test_it_is_built_once(cache: Path) -> None:
    built: list[Path] = []

    def build(staging: Path) -> Path:
        built.append(staging)
        return write_model(staging)

    first = build_once("m-1", build, no_progress)
    assert build_once("m-1", build, no_progress) == first == cache / "converted" / "m-1"
    assert len(built) == 1
    assert sorted(os.listdir(first)) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert leftovers(cache) == []


def test_a_build_that_fails_leaves_nothing(cache: Path) -> None:
    def build(staging: Path) -> Path:
        write_model(staging)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("m-1", build, no_progress)
    assert not (cache / "converted" / "m-1").exists()
    assert leftovers(cache) == []


@pytest.mark.usefixtures("cache")
def test_the_second_waits_says_so_and_uses_the_result() -> None:
    started, finish = threading.Event(), threading.Event()
    said: list[str] = []
    waiting = threading.Event()

    def build(staging: Path) -> Path:
        started.set()
        assert finish.wait(WAIT_SECONDS)
        return write_model(staging)

    def never(_: Path) -> Path:
        raise AssertionError("built a second time")

    def hear(stage: str, _done: int, _total: int) -> None:
        said.append(stage)
        waiting.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(build_once, "m-1", build, no_progress)
        assert started.wait(WAIT_SECONDS)
        second = pool.submit(build_once, "m-1", never, hear)
        assert waiting.wait(WAIT_SECONDS)
        assert not second.done()
        finish.set()
        assert first.result(WAIT_SECONDS) == second.result(WAIT_SECONDS)
    assert said == ["Waiting for another process that is preparing m-1"]


def test_what_the_dead_left_is_swept_and_what_is_at_work_is_not(cache: Path) -> None:
    dead = cache / "converted" / ".staging" / "dead-1.abc"
    dead.mkdir(parents=True)
    write_model(dead)
    seen: list[bool] = []

    def outer(staging: Path) -> Path:
        build_once("other-1", write_model, no_progress)
        seen.append(staging.is_dir())
        return write_model(staging)

    build_once("m-1", outer, no_progress)
    assert seen == [True]
    assert not dead.exists()
    assert not (cache / "converted" / "dead-1").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_result_is_built_again(cache: Path, name: str) -> None:
    finished = build_once("m-1", write_model, no_progress)
    (finished / name).unlink()
    assert build_once("m-1", write_model, no_progress) == finished
    assert (finished / name).is_file()
    assert leftovers(cache) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(TuluError, match="TULU_CACHE_DIR"):
        build_once("m-1", write_model, no_progress)


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TULU_CACHE_DIR", "~/here")
    assert cache_root() == tmp_path / "here"
    monkeypatch.delenv("TULU_CACHE_DIR")
    assert cache_root().name == "tulu"
    assert cache_root().is_absolute()
