"""The fake engine with the demo's tokenizer: it says back what it was given."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fake(demo_directory: Path) -> tuple[str, ...]:
    """`tulu complete` with an engine that repeats its prompt."""
    return ("complete", "--engine", "fake", "-m", str(demo_directory))


@pytest.fixture(scope="session")
def echo(fake: tuple[str, ...]) -> tuple[str, ...]:
    """The same without a chat template: the answer is the prompt, nothing else."""
    return (*fake, "--raw")
