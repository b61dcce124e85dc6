"""A model that surely does not fit is refused before its weights are fetched."""

import json
import shutil
from pathlib import Path

import pytest

from tests.program import tulu


@pytest.fixture
def colossal(demo_directory: Path, tmp_path: Path) -> Path:
    """The demo model's tokenizer under a config that says layers a hundred times as wide."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (demo_directory / name).is_file():
            shutil.copy(demo_directory / name, tmp_path / name)
    config = json.loads((demo_directory / "config.json").read_text())
    config["hidden_size"] *= 100
    config["intermediate_size"] *= 100
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_it_is_exit_3_and_one_sentence(colossal: Path) -> None:
    done = tulu("complete", "--engine", "transformers", "-m", str(colossal), "hello")
    assert (done.returncode, done.stdout) == (3, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "does not fit" in line
    assert "--force" in line


def test_force_tries_all_the_same(colossal: Path) -> None:
    done = tulu("complete", "--force", "--engine", "transformers", "-m", str(colossal), "hello")
    assert done.returncode == 5  # there are no weights
    assert "safetensors" in done.stderr.decode()
