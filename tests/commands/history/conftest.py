"""The history that the verbs work on, and the verbs as argv in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.history.run import Run
from tulu_cli.chat.store.open import history_path, open_history
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.cli import main


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SqliteStore]:
    """The history that the verbs work on."""
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path))
    opened = open_history(history_path(), pytest.fail)
    yield opened
    opened.close()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """A verb as argv in this process: stdout, stderr and the exit code."""

    def history(*arguments: str) -> tuple[str, str, int]:
        code = main.run(["history", *arguments])
        return *capfd.readouterr(), code

    return history
