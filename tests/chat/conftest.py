"""The stores to test: the one on disk and the one in memory have the same verbs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tulu_cli.chat.store.base import MemoryStore, Store
from tulu_cli.chat.store.open import FallbackStore, open_history
from tulu_cli.chat.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a history will be."""
    return tmp_path / "chats" / "history.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Opens the history as one more program would; nothing is to be said of it."""
    stores: list[SqliteStore] = []

    def open_one() -> SqliteStore:
        said: list[str] = []
        stores.append(open_history(path, said.append))
        assert said == []
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(params=["sqlite", "memory", "fallback"])
def store(request: pytest.FixtureRequest, opened: Callable[[], SqliteStore]) -> Store:
    """Each kind of store."""
    if request.param == "memory":
        return MemoryStore()
    return opened() if request.param == "sqlite" else FallbackStore(opened(), pytest.fail)
