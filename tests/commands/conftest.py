"""The fake engine with the demo's tokenizer: it says back what it was given."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import program
from tests.warming import runtime


@pytest.fixture(scope="session")
def fake(demo_directory: Path) -> tuple[str, ...]:
    """`tulu complete` with an engine that repeats its prompt."""
    return ("complete", "--engine", "fake", "-m", str(demo_directory))


@pytest.fixture(scope="session")
def echo(fake: tuple[str, ...]) -> tuple[str, ...]:
    """The same without a chat template: the answer is the prompt, nothing else."""
    return (*fake, "--raw")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory that the processes of the test share."""
    with runtime() as directory:
        # `environment` passes no TULU_ variable of the user's on, and so not this one.
        clean = program.environment
        monkeypatch.setattr(
            program,
            "environment",
            lambda extra=program.NOTHING: clean({"TULU_RUNTIME_DIR": str(directory), **extra}),
        )
        yield directory


@pytest.fixture
def model(demo_directory: Path) -> tuple[str, ...]:
    return ("--engine", "fake", "-m", str(demo_directory))


@pytest.fixture
def serve(demo_directory: Path) -> tuple[str, ...]:
    return ("serve", str(demo_directory), "--engine", "fake", "--detach")
