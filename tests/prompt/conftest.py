"""Tokenizers that the tests read: each directory is made once, and read once by each side."""

from pathlib import Path

import pytest

from . import habits as habit_templates
from . import llama3, published, synthetic
from .pairs import Pair


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is fetched; kept between runs where pytest has a cache."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("llama3") if cache else tmp_path_factory.mktemp("llama3")


@pytest.fixture(scope="session")
def llama3_directory(kept: Path) -> Path:
    """The Tülu 3 tokenizer."""
    return llama3.llama3_directory(kept)


@pytest.fixture(scope="session")
def templates(kept: Path) -> dict[str, str]:
    """The published templates of other families."""
    return published.published_templates(kept)


@pytest.fixture(scope="session")
def pairs(
    demo_directory: Path, llama3_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Pair]:
    """Each kind of tokenizer, read by us and by transformers."""
    made = {
        name: make(tmp_path_factory.mktemp("tokenizers") / name)
        for name, make in synthetic.KINDS.items()
    }
    directories = {"tulu": llama3_directory, "demo": demo_directory, **made}
    return {name: Pair.load(directory) for name, directory in directories.items()}


class HabitPairs(dict[str, Pair]):
    """Tokenizers with the control tokens of a template, by its name; made when asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def __missing__(self, name: str) -> Pair:
        made = habit_templates.model(self._directory / name, name)
        self[name] = Pair.load(made)
        return self[name]

    def __repr__(self) -> str:
        return "habits"  # a failing example shows it


@pytest.fixture(scope="session")
def habits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Each of our small templates with a tokenizer of its own."""
    return HabitPairs(tmp_path_factory.mktemp("habits"))


@pytest.fixture(params=["tulu", "demo", *synthetic.KINDS], scope="session")
def pair(request: pytest.FixtureRequest, pairs: dict[str, Pair]) -> Pair:
    """Each of them in turn."""
    return pairs[request.param]


@pytest.fixture(scope="session")
def tulu(pairs: dict[str, Pair]) -> Pair:
    """The Llama-3 tokenizer with the Tülu 3 template."""
    return pairs["tulu"]
