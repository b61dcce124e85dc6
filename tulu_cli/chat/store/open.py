"""Opening the history: where it is, who may read it, and what to do with a file that is damaged.

chats/             0700
chats/history.db   0600, with -wal and -shm beside it while it is in use
chats/.lock        held while the file is opened, made, migrated or set aside
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store.base import Hit, MemoryStore, Store, Summary
from tulu_cli.chat.store.sqlite import Patience, SqliteStore, connect, is_busy, migrate, version_of
from tulu_cli.disk import data_root, locked, make_private
from tulu_cli.errors import HistoryError, UsageError
from tulu_cli.text import clip, plural

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
    path: Path,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.time,
    patience: Patience | None = None,
) -> SqliteStore:
    """Open the history at `path`, and create it if need be; a read-only one can be read.

    A damaged file is kept under another name, which `say` is told, and a new one begun. Raise
    HistoryError if the history cannot be used.
    """
    patience = patience or Patience(say)
    try:
        with _locked(path.parent):
            return _opened(path, patience, clock)
    except (OSError, sqlite3.Error) as error:
        if _may_be_read(error) and path.exists() and (store := read_only(path, patience, clock)):
            return store
        if isinstance(error, sqlite3.Error) and is_busy(error):
            raise HistoryError(
                f"The history {str(path)!r} is held by another program: end that, or set "
                "TULU_DATA_DIR to another folder."
            ) from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise HistoryError(
            f"The history {str(path)!r} cannot be used ({reason}): mend its permissions or make "
            "room, or set TULU_DATA_DIR to another folder."
        ) from error


def _opened(path: Path, patience: Patience, clock: Callable[[], float]) -> SqliteStore:
    try:
        connection = patience.wait_for(lambda: _connected(path))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in _DAMAGED:
            raise
        aside = _set_aside(path)
        patience.say(
            f"tulu: the history was damaged ({error}); it is kept as {aside}, and a new one begun."
        )
        connection = _connected(path)
    return SqliteStore(connection, path, clock, patience)


def _connected(path: Path) -> sqlite3.Connection:
    _make_private(path)
    connection = connect(path)
    try:
        version_of(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


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


def read_only(
    path: Path,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.time,
) -> SqliteStore | None:
    """Open a history that cannot or must not be written; return None if it cannot be read."""
    flags = ["mode=ro"]
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:  # so nobody is writing it
        flags.append("mode=ro&immutable=1")  # which makes no file, not even for locks
    for flag in flags:
        with suppress(sqlite3.Error):
            connection = connect(f"{path.as_uri()}?{flag}")
            if version_of(connection):
                return SqliteStore(connection, path, clock, patience)
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


def open_store(
    path: Path,
    say: Callable[[str], None],
    *,
    incognito: bool = False,
    may_wait: Callable[[], bool] = lambda: True,
) -> Store:
    """Return the store for a chat: on disk if possible, and in memory if `incognito`.

    While `may_wait` is true it waits for a history that another program holds.
    """
    if incognito:
        return MemoryStore()
    patience = Patience(say, may_wait)

    def opened() -> SqliteStore:
        return open_history(path, say, patience=patience)

    try:
        return FallbackStore(opened(), say, opened, patience)
    except HistoryError as error:
        say(f"tulu: {error} This chat is kept in memory only.")
        return MemoryStore()


class FallbackStore:
    """Keep sessions on disk; what the disk does not take waits in memory until it does.

    What waits is tried again behind every write, whichever session that was of, and at the end. A
    file that is damaged is never written again. What the disk held can be read where it can be
    read at all.
    """

    def __init__(
        self,
        disk: Store,
        say: Callable[[str], None],
        reopen: Callable[[], Store] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._disk = disk
        self._say = say
        self._patience = patience or Patience()
        self._reopen = reopen  # what could only be opened for reading stays so until it is
        self._memory = MemoryStore()
        self._waiting: dict[str, set[str]] = {}  # the changed nodes of each session in memory
        self._renamed: dict[str, str | None] = {}
        self._has_failed = False
        self._is_damaged = False
        self._is_read_only = False
        self._lock = threading.Lock()

    def write(self, session: Session, *nodes: Node) -> None:
        changed = {node.id for node in nodes}
        with self._lock:
            if session.id in self._waiting or self._is_damaged:
                self._keep(session, changed)
            else:
                try:
                    self._disk.write(session, *nodes)
                except HistoryError as error:
                    self._fail(error)
                    self._keep(session, changed)
                    return
            self._write_waiting()

    def load(self, session_id: str) -> Session:
        store = self._memory if session_id in self._waiting else self._disk
        return store.load(session_id)

    def summaries(self) -> list[Summary]:
        on_disk = self._read(self._disk.summaries)
        kept = (one for one in on_disk if one.id not in self._waiting)
        return [*self._memory.summaries(), *kept]

    def search(self, text: str, limit: int = 50, *, thoughts: bool = False) -> list[Hit]:
        on_disk = self._read(lambda: self._disk.search(text, limit, thoughts=thoughts))
        kept = (hit for hit in on_disk if hit.session_id not in self._waiting)
        return [*self._memory.search(text, limit, thoughts=thoughts), *kept][:limit]

    def rename(self, session_id: str, name: str | None) -> None:
        if session_id not in self._waiting:
            self._disk.rename(session_id, name)
            return
        self._memory.rename(session_id, name)
        self._renamed[session_id] = name

    def delete(self, *session_ids: str) -> None:
        self._disk.delete(*session_ids)
        for session_id in session_ids:
            self._forget(session_id)

    def close(self) -> None:
        """Write what still waits. Raise HistoryError, naming what the disk did not take."""
        with self._lock:
            self._patience.renew()
            with suppress(KeyboardInterrupt):  # it ends the waiting; what is left is still said
                self._write_waiting()
            left = self._memory.summaries()
            self._disk.close()
        if left:
            names = ", ".join(repr(one.name or clip(one.title, 40) or one.id) for one in left[:5])
            more = ", ..." if len(left) > 5 else ""
            raise HistoryError(
                f"The history took no more: {plural(len(left), 'session')} ({names}{more}) could "
                "not be written as it stood at the end."
            )

    def _keep(self, session: Session, changed: set[str]) -> None:
        self._memory.write(session)
        self._waiting[session.id] = self._waiting.get(session.id, set()) | changed

    def _write_waiting(self) -> None:
        """Write all that waits to the disk, as far as it takes it."""
        if self._is_damaged:
            return
        if self._is_read_only and self._reopen is not None:
            with suppress(HistoryError):
                before, self._disk = self._disk, self._reopen()
                before.close()
        for session_id, changed in list(self._waiting.items()):
            session = self._memory.load(session_id)
            nodes = [node for node in session.nodes.values() if node.id in changed]
            try:
                self._write_late(session, nodes)
            except HistoryError as error:
                self._fail(error)
            else:
                self._forget(session_id)
        if self._has_failed and not self._waiting:
            self._has_failed = self._is_read_only = False
            self._say("tulu: the history can be written again, and has all that was waiting.")

    def _write_late(self, session: Session, nodes: list[Node]) -> None:
        """Write a session that has waited; a name that another one got meanwhile is left to it."""
        try:
            self._disk.write(session, *nodes)
            if session.id in self._renamed:
                self._disk.rename(session.id, self._renamed[session.id])
        except UsageError as error:
            self._say(f"tulu: {error} What waited under that name is stored as {session.id}.")
            self._disk.write(replace(session, name=None), *nodes)

    def _forget(self, session_id: str) -> None:
        self._memory.delete(session_id)
        self._waiting.pop(session_id, None)
        self._renamed.pop(session_id, None)

    def _read(self, read: Callable[[], list[Found]]) -> list[Found]:
        try:
            return read()
        except HistoryError as error:
            self._fail(error)
            return []

    def _fail(self, error: HistoryError) -> None:
        cause = error.__cause__
        if isinstance(cause, sqlite3.Error):
            kind = cause.sqlite_errorcode & 0xFF
            self._is_damaged |= kind in _DAMAGED
            self._is_read_only |= kind == sqlite3.SQLITE_READONLY
        if not self._has_failed:
            self._has_failed = True
            until = "only" if self._is_damaged else "until it can be written again"
            self._say(f"tulu: {error} From here on this chat is kept in memory {until}.")
