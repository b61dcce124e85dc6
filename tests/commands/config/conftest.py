"""A file of settings of the test's own, and the verbs as argv in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tulu_cli.cli import main
from tulu_cli.errors import TuluError

Run = Callable[..., tuple[str, str, int]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's file is; it is not there yet."""
    path = tmp_path / "own" / "config.toml"
    monkeypatch.chdir(tmp_path)
    for name in ("TULU_PROFILE", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TULU_CONFIG", str(path))
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], file: Path) -> Run:
    """A verb: stdout, stderr and the exit code."""

    def config(*arguments: str) -> tuple[str, str, int]:
        try:
            code = main.run(["config", *arguments])
        except TuluError as error:
            code = main.explain(error)
        return *capfd.readouterr(), code

    return config
