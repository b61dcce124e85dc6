"""`tulu models`: the family as a table for people, for pipes and for jq."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.fake_hub import fill_cache
from tests.models.repository import FILES, REPO, TEXTS
from tests.program import tulu
from tulu_cli.commands.models import run
from tulu_cli.machine import Gpu, Machine
from tulu_cli.models import FAMILY, resolve
from tulu_cli.models.installed import converted_path
from tulu_cli.streams import Streams

GIB = 2**30


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches: what is given is the Hub's."""
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def listed(*, gpus: tuple[int, ...] = (), memory: int = 0, width: int = 0) -> Streams:
    """The list as a pipe gets it, or a terminal of that width."""
    streams = Streams.test(tty=bool(width))
    streams.width = width
    machine = Machine(tuple(Gpu(n, "GPU", free, free) for n, free in enumerate(gpus)))
    run(streams, machine, memory, json_output=False)
    return streams


def text(streams: Streams) -> list[str]:
    written: bytes = streams.stdout.getvalue()  # type: ignore[attr-defined]
    return written.decode().splitlines()


def objects(**options: Any) -> dict[str, Any]:
    streams = Streams.test()
    run(streams, Machine(), options.get("memory", 0), json_output=True)
    rows = json.loads(streams.stdout.getvalue())  # type: ignore[attr-defined]
    assert streams.stderr.getvalue() == b""  # type: ignore[attr-defined]
    return {row["alias"]: row for row in rows}


def test_a_pipe_gets_everything() -> None:
    head, *rows = text(listed())
    titles = "Alias, Repository, Stage, Size, Base, Weights, Cached, Fits"
    assert head.split() == titles.split(", ")
    for model, row in zip(FAMILY, rows, strict=True):
        assert row.split()[:5] == [
            model.alias,
            model.repository,
            model.stage,
            model.size,
            model.base,
        ]
    assert "14.96 GiB  no" in rows[0]


@pytest.mark.parametrize("width", [200, 130, 120, 80, 79, 70, 64, 60, 45, 40])
def test_a_terminal_gets_what_it_has_room_for(width: int) -> None:
    lines = text(listed(gpus=(80 * GIB,) * 8, width=width))
    assert len(lines) == 1 + len(FAMILY)
    assert max(map(len, lines)) <= width
    assert ("Base" in lines[0]) == (width >= 79)
    assert "8b-rm" in "\n".join(lines)


def test_a_terminal_that_is_too_narrow_gets_the_least() -> None:
    assert text(listed(width=5))[0].split() == ["Alias", "Stage", "GiB", "Here", "Fits"]


def test_where_the_weights_fit() -> None:
    lines = text(listed(gpus=(80 * GIB,) * 4, memory=900 * GIB))
    ends = {line.split()[0]: line.split("  ")[-1].strip() for line in lines[1:]}
    assert (ends["8b"], ends["70b"], ends["405b"]) == ("1 GPU", "2 GPU", "RAM")
    assert text(listed())[1].endswith("no")


def test_what_is_free_is_said_beside_the_table() -> None:
    told = listed(gpus=(GIB,), memory=2 * GIB).stderr.getvalue().decode()  # type: ignore[attr-defined]
    assert "tulu: Free now: GPU 0 1.00 GiB, RAM 2.00 GiB.\n" in told
    assert "weights alone" in told


def test_what_is_cached(caches: Path) -> None:
    assert {row["cached"]["state"] for row in objects().values()} == {"none"}
    fill_cache(caches, REPO, FILES)
    fill_cache(caches, f"{REPO}-SFT", TEXTS)
    fill_cache(caches, f"{REPO}-DPO", FILES)
    lost = caches / f"models--{REPO.replace('/', '--')}-DPO/snapshots"
    next(lost.glob("*/model.safetensors")).resolve().unlink()
    demo = converted_path(resolve("demo"))
    demo.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (demo / name).write_bytes(b"12345")
    found = {alias: row["cached"] for alias, row in objects().items()}
    states = {alias: row["state"] for alias, row in found.items() if row["state"] != "none"}
    assert states == {
        "8b": "complete",
        "8b-sft": "partial",
        "8b-dpo": "partial",
        "demo": "complete",
    }
    assert found["8b"]["bytes"] == sum(map(len, FILES.values()))
    assert found["demo"] == {"state": "complete", "bytes": 15, "path": str(demo)}
    assert "part, 0.00 GiB" in text(listed())[5]
    assert [line.split()[-2] for line in text(listed(width=80))[1:7:4]] == ["yes", "part"]


def test_a_broken_index_is_a_part(caches: Path) -> None:
    snapshot = fill_cache(caches, REPO, TEXTS | {"model.safetensors.index.json": b"{"})
    assert objects()["8b"]["cached"]["state"] == "partial"
    (snapshot / "model.safetensors.index.json").unlink()


def test_json_is_numbers() -> None:
    row = objects(memory=20 * GIB)["8b"]
    assert row["parameters"] * 2 == row["weight_bytes"] == 16060653568
    assert row["weights_fit"] == {"place": "memory", "gpus": 0}
    assert objects()["70b"]["weights_fit"] == {"place": "nowhere", "gpus": 0}


def test_json_goes_behind_the_verb() -> None:
    done = tulu("models", "--json", "show", "8b")
    assert done.returncode == 2
    assert done.stderr == b"tulu: --json goes behind show, not before it.\n"


def test_help_says_what_there_is() -> None:
    told = tulu("models", "--help").stdout.decode()
    for words in ("List the Tülu 3 family", "pull ", "rm ", "show "):
        assert words in told
