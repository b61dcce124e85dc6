"""From settings to an engine that is warm: times, hints, and the one seam of the launch path."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.warming import load_warm, runtime
from tulu_cli.engines.choose import EngineChoice
from tulu_cli.errors import DoesNotFit, UsageError
from tulu_cli.loading import LoadOptions, Prepared, open_engine, prepare, servers, with_weights
from tulu_cli.loading.open import load_engine
from tulu_cli.machine import Gpu, Machine, read_machine
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams
from tulu_cli.warm.endpoint import Endpoint
from tulu_cli.warm.finder import warm_engines


@pytest.fixture(autouse=True)
def root() -> Iterator[Path]:
    with runtime() as directory:
        yield directory


def prepared(
    directory: Path, machine: Machine | None = None, *, deterministic: bool = False, **values: Any
) -> Prepared:
    values = {"engine": "fake", "model": str(directory), "max_model_len": 2048, **values}
    settings = Settings({name: Setting(value, "flag") for name, value in values.items()})
    options = LoadOptions(settings, offline=True, deterministic=deterministic)
    return prepare(options, machine or read_machine(), Streams.test())


def server_of(found: Prepared) -> Endpoint | None:
    return found.token_model().spec.server


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("90", 90), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400)],
)
def test_times(text: str, expected: float) -> None:
    assert servers.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "10 m", "1e3", "1h30m", "inf", "1" * 400 + "d"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--keep-alive takes a time such as"):
        servers.seconds(text)


def test_an_engine_that_stays_answers_the_next_who_prepares(demo_directory: Path) -> None:
    first = prepared(demo_directory, keep_alive="10m")
    assert (first.choice.engine, first.token_model().keep_alive) == ("fake", 600)
    with open_engine(first, Streams.test()):
        pass
    second = prepared(demo_directory)
    assert second.choice == EngineChoice("remote.tokens", (("fake", "warm, and chosen"),))
    assert server_of(second) is not None
    with open_engine(second, Streams.test()) as engine:
        assert engine.info.engine == "fake"


def test_what_differs_is_loaded_here(demo_directory: Path) -> None:
    load_warm("fake", demo_directory).close()
    changed: list[dict[str, Any]] = [{"dtype": "float16"}, {"max_model_len": 64}]
    for changes in (*changed, {"deterministic": True}):
        found = prepared(demo_directory, **changes)
        assert (found.choice.engine, server_of(found)) == ("fake", None)
    newer = Machine(packages={**read_machine().packages, "torch": "99"})
    assert server_of(prepared(demo_directory, newer)) is None


def test_another_model_is_loaded_here(demo_directory: Path, tmp_path: Path) -> None:
    load_warm("fake", demo_directory).close()
    for file in demo_directory.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert server_of(prepared(tmp_path)) is None


def test_an_engine_that_has_just_gone_is_started_again(demo_directory: Path) -> None:
    load_warm("fake", demo_directory).close()
    (running,) = warm_engines()
    from tulu_cli.warm import starter

    starter.stop(running)
    assert server_of(prepared(demo_directory)) is None


def test_memory_that_a_warm_engine_takes_is_mentioned(
    demo_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DoesNotFit("It does not fit.")

    monkeypatch.setattr("tulu_cli.engines.choose.load", full)
    alone = prepared(demo_directory, dtype="float16")
    with pytest.raises(DoesNotFit, match=r"^It does not fit\.$"):
        load_engine(alone, Streams.test())
    monkeypatch.undo()
    with runtime():
        load_warm("fake", demo_directory).close()
        monkeypatch.setattr("tulu_cli.engines.choose.load", full)
        with pytest.raises(DoesNotFit, match=r"Kept warm meanwhile: demo; tulu stop NAME frees"):
            load_engine(alone, Streams.test())


def test_a_warm_engine_that_fills_the_card_is_named_before_anything_is_fetched(
    demo_directory: Path,
) -> None:
    full = Gpu(0, "NVIDIA L4", 23 * 2**30, 50 * 2**20)
    ours = prepared(demo_directory, dtype="float16")
    ours = replace(ours, machine=Machine((full,), 64 * 2**30, read_machine().packages))
    ours = replace(ours, choice=EngineChoice("transformers", ()))
    with pytest.raises(DoesNotFit, match=r"or --force to try\.$"):
        with_weights(ours, Streams.test())
    load_warm("fake", demo_directory).close()
    with pytest.raises(DoesNotFit, match=r"Kept warm meanwhile: demo; tulu stop NAME frees"):
        with_weights(ours, Streams.test())
