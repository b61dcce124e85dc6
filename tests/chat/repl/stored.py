"""What a chat has left on disk."""

from pathlib import Path

import pytest

from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store.open import open_history


def sessions(data: Path) -> list[Session]:
    """All sessions, the last written first."""
    store = open_history(data / "chats" / "history.db", pytest.fail)
    try:
        return [store.load(one.id) for one in store.summaries()]
    finally:
        store.close()


def path(data: Path) -> list[tuple[str, str]]:
    """Role and content of the only session's turns, up to its head."""
    (session,) = sessions(data)
    return [(node.role, node.content) for node in session.path()]


def last(data: Path) -> Node:
    """The turn at the head of the only session."""
    (session,) = sessions(data)
    return session.path()[-1]
