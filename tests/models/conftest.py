"""A real tiny GGUF file, the real demo model, a Hub of our own on this machine, and no network."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tulu_cli.models import ModelFiles, locate, resolve

from .fake_hub import FakeHub
from .tiny_gguf import write_tiny_gguf

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*OFFLINE, "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    # The library reads its switch once, when it is imported: with the user's environment.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of our own for one test."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("TULU_CACHE_DIR", str(directory))
    return directory


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer and 266 tokens, as a GGUF file: converting it takes a few seconds."""
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny model.gguf")


@pytest.fixture(scope="session")
def demo_files(demo_directory: Path) -> ModelFiles:
    """The real demo model, as the whole suite has it: converted by this run, or an earlier one."""
    found = locate(resolve("demo"))
    assert found.directory == demo_directory
    return found


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to reach a host fails, and is put in the list that this gives."""
    attempts: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        attempts.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for the Hub's library, which reads HF_HUB_CACHE only when imported."""
    directory = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(directory))
    return directory


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on this machine, which the library takes for the real one; its cache is empty."""
    assert not hub_cache.exists()
    with FakeHub() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            server.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield server


@pytest.fixture
def fake_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of the test's own in the place of the converter."""

    def install(program: str) -> None:
        script = tmp_path / "converter.py"
        script.write_text(program, encoding="utf-8")
        monkeypatch.setattr("tulu_cli.models.gguf._CONVERTER", script)

    return install


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment in which a child process finds this package."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
