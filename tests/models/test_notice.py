"""Licence and limits: said once before the first download, and never in the way of one."""

import os
from pathlib import Path

import pytest

from tulu_cli.models import locate, resolve
from tulu_cli.models.card import card
from tulu_cli.models.notice import lines

from .fake_hub import COMMIT, FakeHub, fill_cache
from .repository import FILES, REPO


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for what is remembered of this user."""
    directory = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    return directory


@pytest.fixture
def said() -> list[str]:
    return []


def test_it_is_the_cards_licence_and_limits() -> None:
    told = " ".join(" ".join(lines()).split())
    for text in (*card().license_and_use, card().limits):
        assert text in told
    assert max(map(len, lines())) < 80


def test_it_is_said_once_and_before_the_first_byte(
    hub: FakeHub, state: Path, said: list[str]
) -> None:
    hub.repositories[REPO] = FILES
    asked: list[int] = []

    def hear(line: str) -> None:
        said.append(line)
        asked.append(len(hub.requests))

    locate(resolve(REPO), weights=False, say=hear)
    assert said == lines()
    assert set(asked) == {0}
    locate(resolve(REPO), say=said.append)
    hub.repositories["allenai/Llama-3.1-Tulu-3-70B"] = FILES
    locate(resolve("70b"), say=said.append)
    assert said == lines()


def test_what_is_here_already_is_no_download(
    hub: FakeHub, hub_cache: Path, state: Path, said: list[str]
) -> None:
    hub.repositories[REPO] = FILES
    fill_cache(hub_cache, REPO, FILES)
    locate(resolve(REPO), say=said.append)
    locate(resolve(REPO), offline=True, say=said.append)
    locate(resolve(f"{REPO}@{COMMIT}"), say=said.append)
    assert said == []
    assert not state.exists()


def test_other_models_have_other_licences(hub: FakeHub, state: Path, said: list[str]) -> None:
    hub.repositories["org/name"] = FILES
    locate(resolve("org/name"), say=said.append)
    assert said == []


def test_a_home_that_cannot_be_written_costs_only_the_memory(
    hub: FakeHub, state: Path, said: list[str]
) -> None:
    hub.repositories[REPO] = FILES
    state.write_text("a file where a folder should be")
    locate(resolve(REPO), weights=False, say=said.append)
    assert said == lines()
    assert (locate(resolve(REPO), say=said.append).directory / "model.safetensors").is_file()
    assert said == lines() * 2


def test_a_home_that_may_not_be_written(
    hub: FakeHub, state: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(Path, "touch", refuse)  # a chmod does not stop root
    hub.repositories[REPO] = FILES
    from tulu_cli.models import notice

    notice.show(said.append)
    assert notice.is_due()
    assert os.path.isdir(state)
