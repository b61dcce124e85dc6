"""A runtime directory for each test, and engines in it that are gone at its end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warming import order_of, runtime
from tulu_cli.models import no_progress
from tulu_cli.warm import starter
from tulu_cli.warm.record import Warm


@pytest.fixture
def root() -> Iterator[Path]:
    """The runtime directory."""
    with runtime() as directory:
        yield directory


@pytest.fixture
def start(root: Path, demo_directory: Path) -> Callable[..., Warm]:
    """Starts the fake engine, with changes to its order."""

    def started(**changes: float) -> Warm:
        return starter.start(order_of("fake", demo_directory, **changes), no_progress)

    return started
