"""A warm engine for tests: started in a runtime directory of its own, and ended for sure."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.loading import CONTEXT, END
from tulu_cli.engines.base import Engine, EngineSpec
from tulu_cli.engines.choose import load as load_engine
from tulu_cli.loading import servers
from tulu_cli.machine import read_machine
from tulu_cli.models import no_progress
from tulu_cli.prompt import Tokenizer
from tulu_cli.warm import starter
from tulu_cli.warm.finder import warm_engines
from tulu_cli.warm.record import LaunchOrder


@contextmanager
def runtime() -> Iterator[Path]:
    """A runtime directory in use; whatever engine lives in it at the end is ended."""
    with runtime_directory() as directory, used(directory):
        yield directory


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """The same, in use only where `used` says so: for engines that outlive the test at hand."""
    # Not pytest's own folder, whose name is longer than a socket's may be.
    directory = Path(tempfile.mkdtemp(prefix="tulu-test-", dir="/tmp"))
    try:
        yield directory
    finally:
        with used(directory):
            for engine in warm_engines():
                starter.stop(engine)
        shutil.rmtree(directory, ignore_errors=True)  # one that dies by itself clears up as well


@contextmanager
def used(directory: Path) -> Iterator[None]:
    """The runtime directory that this process uses meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TULU_RUNTIME_DIR", str(directory))
        yield


def spec_of(directory: Path, **changes: Any) -> EngineSpec:
    """The demo model in float32."""
    values: dict[str, Any] = {"dtype": "float32", "max_model_len": CONTEXT} | changes
    return EngineSpec("demo", directory, Tokenizer.load(directory), **values)


def order_of(name: str, directory: Path, *, keep_alive: float = 0.0, **changes: Any) -> LaunchOrder:
    """What a supervisor is told to hold the demo model."""
    return servers.order_of(
        spec_of(directory, **changes),
        name,
        read_machine(),
        asked="demo",
        end_token_ids=END,
        keep_alive=keep_alive,
    )


def load_warm(name: str, directory: Path, **changes: Any) -> Engine:
    """The engine of that name in another process; it stays until its runtime directory goes."""
    endpoint = servers.start(order_of(name, directory, **changes), no_progress)
    spec = replace(spec_of(directory, **changes), server=endpoint)
    return load_engine(servers.choice_for(endpoint, "for a test"), spec)
