"""The store of a chat, which never fails for its disk: it goes on in memory and says so once."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tulu_cli.chat.find import Hit
from tulu_cli.chat.place import open_history
from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store import MemoryStore, Store, Summary
from tulu_cli.errors import HistoryError, UsageError

Found = TypeVar("Found", Summary, Hit)


def open_store(path: Path, say: Callable[[str], None], *, incognito: bool = False) -> Store:
    """The store for a chat: on disk where that is possible. `incognito` touches no disk at all."""
    if incognito:
        return MemoryStore()
    try:
        return FallbackStore(open_history(path, say), say)
    except HistoryError as error:
        say(f"tulu: {error} This chat is kept in memory only.")
        return MemoryStore()


class FallbackStore:
    """A store on disk, and what could not be written to it, in memory.

    What is in memory is tried again with each write, so that a disk with room again has it all.
    """

    def __init__(self, disk: Store, say: Callable[[str], None]) -> None:
        self._disk = disk
        self._say = say
        self._memory = MemoryStore()
        self._waiting: dict[str, dict[str, Node]] = {}
        self._has_warned = False

    def write(self, session: Session, *nodes: Node) -> None:
        waiting = self._waiting.get(session.id, {}) | {node.id: node for node in nodes}
        try:
            self._disk.write(session, *waiting.values())
        except HistoryError as error:
            self._warn(error)
            self._waiting[session.id] = waiting
            self._memory.write(session)
        else:
            if self._waiting.pop(session.id, None) is not None:
                self._memory.delete(session.id)

    def load(self, session_id: str) -> Session:
        store = self._memory if session_id in self._waiting else self._disk
        return store.load(session_id)

    def summaries(self) -> list[Summary]:
        on_disk = self._read(self._disk.summaries)
        kept = [one for one in on_disk if one.id not in self._waiting]
        return [*self._memory.summaries(), *kept]

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        on_disk = self._read(lambda: self._disk.search(text, limit))
        kept = [hit for hit in on_disk if hit.session_id not in self._waiting]
        return [*self._memory.search(text, limit), *kept][:limit]

    def rename(self, session_id: str, name: str | None) -> None:
        if session_id not in self._waiting:
            self._disk.rename(session_id, name)
            return
        self._memory.rename(session_id, name)
        with suppress(HistoryError, UsageError):  # it may be there, and not be writable
            self._disk.rename(session_id, name)

    def delete(self, *session_ids: str) -> None:
        for session_id in session_ids:
            self._waiting.pop(session_id, None)
        self._memory.delete(*session_ids)
        self._disk.delete(*session_ids)

    def close(self) -> None:
        self._disk.close()

    def _read(self, read: Callable[[], list[Found]]) -> list[Found]:
        try:
            return read()
        except HistoryError as error:
            self._warn(error)
            return []

    def _warn(self, error: HistoryError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._say(f"tulu: {error} This chat is kept in memory until that is mended.")
