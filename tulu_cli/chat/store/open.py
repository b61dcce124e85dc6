"""Opening the history: where it is, who may read it, and what to do with a file that is damaged.

chats/             0700
chats/history.db   0600, with -wal and -shm beside it while it is in use
chats/.lock        held while the file is opened, made, migrated or set aside
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store.base import Hit, MemoryStore, Store, Summary
from tulu_cli.chat.store.sqlite import SqliteStore, migrate, version_of
from tulu_cli.disk import data_root, locked, make_private
from tulu_cli.errors import HistoryError

# How long one program waits while another one writes.
BUSY_SECONDS = 20.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NOT_WRITABLE = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
)


def history_path() -> Path:
    """Return the path of the history, which need not exist yet."""
    return data_root() / "chats" / "history.db"


def open_history(
    path: Path, say: Callable[[str], None], clock: Callable[[], float] = time.time
) -> SqliteStore:
    """Open the history at `path`, and create it if need be; a read-only one can be read.

    A damaged file is kept under another name, which `say` is told, and a new one begun. Raise
    HistoryError if the history cannot be used.
    """
    try:
        with _locked(path.parent):
            return _opened(path, say, clock)
    except (OSError, sqlite3.Error) as error:
        if _may_be_read(error) and path.exists() and (store := read_only(path, clock)):
            return store
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise HistoryError(
            f"The history {str(path)!r} cannot be used ({reason}): mend its permissions or make "
            "room, or set TULU_DATA_DIR to another folder."
        ) from error


def _opened(path: Path, say: Callable[[str], None], clock: Callable[[], float]) -> SqliteStore:
    try:
        return _connected(path, clock)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in _DAMAGED:
            raise
        aside = _set_aside(path)
        say(f"tulu: the history was damaged ({error}); it is kept as {aside}, and a new one begun.")
        return _connected(path, clock)


def _connected(path: Path, clock: Callable[[], float]) -> SqliteStore:
    _make_private(path)
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        version_of(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return SqliteStore(connection, path, clock)


def _make_private(path: Path) -> None:
    """Create the file for its user alone; SQLite gives the files beside it the same permissions.

    An existing file is not opened: closing it would drop the locks that this process has on it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _may_be_read(error: Exception) -> bool:
    """Return True for an error of writing. The low byte of SQLite's code is its kind."""
    return isinstance(error, OSError) or (
        isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF in _NOT_WRITABLE
    )


def read_only(path: Path, clock: Callable[[], float] = time.time) -> SqliteStore | None:
    """Open a history that cannot or must not be written; return None if it cannot be read."""
    flags = ["mode=ro"]
    if not path.with_name(f"{path.name}-wal").exists():  # so nobody is writing it
        flags.append("mode=ro&immutable=1")  # which makes no file, not even for locks
    for flag in flags:
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(
                f"{path.as_uri()}?{flag}", uri=True, isolation_level=None, check_same_thread=False
            )
            if version_of(connection):
                return SqliteStore(connection, path, clock)
            connection.close()
    return None


def _set_aside(path: Path) -> Path:
    """Give the damaged file and those beside it a new name."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; create both, for their user alone."""
    make_private(folder)
    folder.chmod(0o700)
    with locked(folder / ".lock"):
        yield


Found = TypeVar("Found", Summary, Hit)


def open_store(path: Path, say: Callable[[str], None], *, incognito: bool = False) -> Store:
    """Return the store for a chat: on disk if possible, and in memory if `incognito`."""
    if incognito:
        return MemoryStore()
    try:
        return FallbackStore(open_history(path, say), say)
    except HistoryError as error:
        say(f"tulu: {error} This chat is kept in memory only.")
        return MemoryStore()


class FallbackStore:
    """Keep sessions on disk, and from the first failure of the disk on in memory.

    What the disk held before can still be read where it can be read at all.
    """

    def __init__(self, disk: Store, say: Callable[[str], None]) -> None:
        self._disk = disk
        self._say = say
        self._memory = MemoryStore()
        self._has_failed = False

    def write(self, session: Session, *nodes: Node) -> None:
        if not self._has_failed:
            try:
                self._disk.write(session, *nodes)
            except HistoryError as error:
                self._give_up(error)
            else:
                return
        self._memory.write(session)

    def load(self, session_id: str) -> Session:
        store = self._memory if session_id in self._ids_in_memory() else self._disk
        return store.load(session_id)

    def summaries(self) -> list[Summary]:
        known = self._ids_in_memory()
        on_disk = self._read(self._disk.summaries)
        return [*self._memory.summaries(), *(one for one in on_disk if one.id not in known)]

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        known = self._ids_in_memory()
        on_disk = self._read(lambda: self._disk.search(text, limit))
        kept = (hit for hit in on_disk if hit.session_id not in known)
        return [*self._memory.search(text, limit), *kept][:limit]

    def rename(self, session_id: str, name: str | None) -> None:
        store = self._memory if session_id in self._ids_in_memory() else self._disk
        store.rename(session_id, name)

    def delete(self, *session_ids: str) -> None:
        self._memory.delete(*session_ids)
        self._disk.delete(*session_ids)

    def close(self) -> None:
        self._disk.close()

    def _ids_in_memory(self) -> set[str]:
        return {summary.id for summary in self._memory.summaries()}

    def _read(self, read: Callable[[], list[Found]]) -> list[Found]:
        try:
            return read()
        except HistoryError as error:
            self._give_up(error)
            return []

    def _give_up(self, error: HistoryError) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._say(f"tulu: {error} From here on this chat is kept in memory only.")
