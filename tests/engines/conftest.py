"""Engines, each loaded once; vLLM's tests run in a process of their own (see the Makefile).

vLLM forks its worker, and a fork is safe only where no other library has computed with threads.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warming import load_warm, runtime_directory, used
from tulu_cli.engines.base import Engine

from .loading import Asker, load_engine

# "warm NAME" is the engine of that name in another process, spoken to over its socket.
ENGINES = (
    "fake",
    "warm fake",
    "transformers",
    "warm transformers",
    pytest.param("vllm", marks=pytest.mark.vllm),
    pytest.param("warm vllm", marks=pytest.mark.vllm),
)


@pytest.fixture(scope="session")
def asker(small_directory: Path) -> Asker:
    """Makes requests for the demo model."""
    return Asker(small_directory)


@pytest.fixture(scope="session")
def loaded_engines(small_directory: Path) -> Iterator[Callable[[str], Engine]]:
    """Loads an engine by its name, once."""
    loaded: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in loaded:
            load = load_warm if name.startswith("warm ") else load_engine
            # A worker is forked with our filters; vLLM's own warnings must not end it.
            with warnings.catch_warnings(), used(directory):
                warnings.simplefilter("ignore")
                loaded[name] = load(name.removeprefix("warm "), small_directory)
        return loaded[name]

    # These engines live as long as the suite: other tests must not find them.
    with runtime_directory() as directory:
        yield get
        for engine in loaded.values():
            engine.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, loaded_engines: Callable[[str], Engine]) -> Engine:
    """Each engine in turn."""
    return loaded_engines(request.param)


@pytest.fixture(params=ENGINES[2:])
def real_engine(request: pytest.FixtureRequest, loaded_engines: Callable[[str], Engine]) -> Engine:
    """Each engine that runs the model."""
    return loaded_engines(request.param)
