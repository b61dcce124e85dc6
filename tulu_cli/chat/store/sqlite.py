"""The history on disk: one SQLite file, which several programs may read and write at once.

`STEPS` are its tables, and how a file of an older version gets them: `user_version` counts the
steps that a file has gone through.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tulu_cli.chat.session import THOUGHT, Node, Record, Session
from tulu_cli.chat.store.base import (
    Hit,
    Summary,
    holds,
    name_taken,
    no_session,
    snippet,
    title_of,
    words_of,
)
from tulu_cli.chat.store.json import DAMAGE, YEAR_9999, record_from_json, record_to_json
from tulu_cli.errors import HistoryError
from tulu_cli.text import plural

# LIKE ends a text at a NUL, and does not know that these two are İ and K in other letters' case:
# str.lower() makes "i̇" and "k" of them. Such texts are few, and always looked at by `holds`.
_ODD = """(instr(CAST(content AS BLOB), x'00') OR instr(content, char(0x130))
    OR instr(content, char(0x212A)))"""
_LONGEST_PATTERN = 1000  # characters; SQLite's own limit is 50,000 bytes

_WRITE_SESSION = """
    INSERT INTO sessions (id, name, system, created, updated, head, undone)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET system = excluded.system, updated = excluded.updated,
        head = excluded.head, undone = excluded.undone
"""
_WRITE_NODE = """
    INSERT INTO nodes (session, id, parent, role, content, created, record, extra)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session, id) DO UPDATE SET content = excluded.content, record = excluded.record,
        extra = excluded.extra
"""


def _text(column: str) -> str:
    """Return SQL for a text; a damaged file may have a value of another type in its place."""
    return f"CAST({column} AS TEXT)"


def _time(column: str) -> str:
    """Return SQL for a time, the epoch where a damaged file has none that a calendar knows."""
    at = f"CAST({column} AS REAL)"
    return f"CASE WHEN {at} >= 0 AND {at} < {YEAR_9999} THEN {at} ELSE 0.0 END"


_READ_SESSION = f"""
    SELECT {_time("created")}, {_text("name")}, {_text("system")}, {_text("head")},
        {_text("undone")}
    FROM sessions WHERE id = ?
"""  # noqa: S608  made of constants, as those below
_READ_NODES = f"""
    SELECT {_text("id")}, {_text("parent")}, {_text("role")}, coalesce({_text("content")}, ''),
        {_time("created")}, {_text("record")}, {_text("extra")}
    FROM nodes WHERE session = ? ORDER BY seq
"""  # noqa: S608
_SUMMARIES = f"""
    SELECT {_text("id")}, {_text("name")}, {_time("created")}, {_time("updated")},
        (SELECT substr({_text("content")}, 1, 400) FROM nodes
            WHERE session = sessions.id AND role = 'user' ORDER BY seq LIMIT 1),
        (SELECT count(*) FROM nodes WHERE session = sessions.id)
    FROM sessions ORDER BY updated DESC, rowid DESC
"""  # noqa: S608
_SEARCH = f"""
    SELECT {_text("session")}, {_text("name")}, {_text("nodes.id")}, {_text("role")},
        {_time("nodes.created")}, {_text("content")}, {_text("extra")}
    FROM nodes JOIN sessions ON sessions.id = session
    WHERE (content LIKE :pattern OR seq IN (SELECT seq FROM nodes WHERE {_ODD}))
        AND holds(CAST(content AS BLOB)) OR :thoughts AND thinks(CAST(extra AS BLOB))
    ORDER BY seq DESC LIMIT :limit
"""  # noqa: S608


# How long one program waits while another one writes, and when it says so.
BUSY_SECONDS = 20.0
SAID_AFTER_SECONDS = 1.0
# SQLite itself waits so long, in which nothing can be said and no Ctrl-C comes.
_TRY_SECONDS = 0.1
_PAUSE_SECONDS = 0.01  # where SQLite finds that waiting would be of no use
Got = TypeVar("Got")


@dataclass
class Patience:
    """Wait for a history that another program holds, and tell `say` once it takes a while.

    `may_wait` is asked in between. A wait in vain is not repeated until the history was free again,
    or `renew` was called.
    """

    say: Callable[[str], None] = lambda _line: None
    may_wait: Callable[[], bool] = lambda: True
    _is_spent: bool = False

    def renew(self) -> None:
        """Wait once more, though it was in vain."""
        self._is_spent = False

    def wait_for(self, act: Callable[[], Got]) -> Got:
        """Return what the function returns once the history is free.

        Raise sqlite3.OperationalError if it is not for too long, and what the function raises.
        """
        started = time.monotonic()
        is_said = False
        while True:
            try:
                got = act()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - started
                if not is_busy(error):
                    raise
                if self._is_spent or waited >= BUSY_SECONDS or not self.may_wait():
                    self._is_spent = True
                    raise
                if waited >= SAID_AFTER_SECONDS and not is_said:
                    is_said = True
                    self.say("tulu: waiting for the history, which another program holds.")
                time.sleep(_PAUSE_SECONDS)
            else:
                self._is_spent = False
                return got


def is_busy(error: sqlite3.Error) -> bool:
    """Return True if another program holds the file. The low byte of SQLite's code is its kind."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def connect(place: Path | str) -> sqlite3.Connection:
    """Return a connection to a path or a URI, which leaves waiting to `Patience`.

    Any thread may use it, one at a time.
    """
    return sqlite3.connect(
        place,
        timeout=_TRY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=isinstance(place, str),
        factory=_Connection,
    )


class _Connection(sqlite3.Connection):
    """Say damage that SQLite describes by bytes of the file, which sqlite3 cannot decode."""

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            damage = sqlite3.DatabaseError("its tables have names that are not UTF-8")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage from error


class SqliteStore:
    """Keep sessions in SQLite, over an open connection. Any thread may call it, one at a time.

    `clock` gives seconds since the epoch. What `patience` tells is also told what a damaged file
    has lost; a byte that is not UTF-8 becomes U+FFFD.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        clock: Callable[[], float] = time.time,
        patience: Patience | None = None,
    ) -> None:
        connection.text_factory = _decoded
        self._connection = connection
        self._path = path
        self._clock = clock
        self._patience = patience or Patience()
        self._lock = threading.Lock()

    def write(self, session: Session, *nodes: Node) -> None:
        with self._transaction() as connection:
            known = _name_of(connection, session.id)
            if known is None and session.name is not None:
                _check_free(connection, session.name)
            connection.execute(_WRITE_SESSION, _session_row(session, self._clock()))
            written = nodes if known is not None else session.nodes.values()
            connection.executemany(_WRITE_NODE, (_node_row(session.id, node) for node in written))

    def load(self, session_id: str) -> Session:
        with self._transaction("DEFERRED") as connection:
            row = connection.execute(_READ_SESSION, (session_id,)).fetchone()
            if row is None:
                raise no_session(session_id)
            rows = connection.execute(_READ_NODES, (session_id,)).fetchall()
        created, name, system, head, undone = row
        damaged: set[str] = set()
        read = {node.id: node for node in (_node(row, damaged) for row in rows)}
        nodes, moved = _linked(read)
        session = f"session {name or session_id}"
        if damaged:
            which = f"{plural(len(damaged), 'turn')} of {session}"
            self._say_damaged(f"of {which} only the text can be read")
        if moved:
            which = f"{plural(moved, 'turn')} of {session}"
            self._say_damaged(f"the place of {which} is lost, and is now after the one before")
        if head is not None and head not in nodes:
            head = next(reversed(nodes), None)
            self._say_damaged(f"where {session} stood is lost, and it goes on at its last turn")
        return Session(session_id, created, name, system, nodes, head, _undone(undone, nodes))

    def _say_damaged(self, what: str) -> None:
        self._patience.say(f"tulu: the history is damaged: {what}.")

    def summaries(self) -> list[Summary]:
        with self._transaction("DEFERRED") as connection:
            rows = connection.execute(_SUMMARIES).fetchall()
        return [
            Summary(session, name, title_of(first or ""), created, updated, turns)
            for session, name, created, updated, first, turns in rows
        ]

    def search(self, text: str, limit: int = 50, *, thoughts: bool = False) -> list[Hit]:
        words = words_of(text)
        if not words:
            return []
        parameters = {"pattern": _pattern(words), "limit": limit, "thoughts": thoughts}
        with self._transaction("DEFERRED") as connection:
            connection.create_function("holds", 1, lambda content: holds(_decoded(content), words))
            connection.create_function("thinks", 1, lambda extra: holds(_thought(extra), words))
            rows = connection.execute(_SEARCH, parameters).fetchall()
        return [_hit(row, words) for row in rows]

    def rename(self, session_id: str, name: str | None) -> None:
        with self._transaction() as connection:
            known = _name_of(connection, session_id)
            if known is None:
                raise no_session(session_id)
            if name is not None and (name,) != known:
                _check_free(connection, name)
            connection.execute("UPDATE sessions SET name = ? WHERE id = ?", (name, session_id))

    def delete(self, *session_ids: str) -> None:
        rows = [(session_id,) for session_id in session_ids]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM sessions WHERE id = ?", rows)  # and their nodes
        with self._lock, self._errors():  # the file gets smaller, and the log empty
            vacuum = "PRAGMA incremental_vacuum"
            self._patience.wait_for(lambda: self._connection.execute(vacuum).fetchall())
            # This says that somebody reads the log, and is no error: SQLite itself has to wait.
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute(f"PRAGMA busy_timeout = {_TRY_SECONDS * 1000:.0f}")

    def close(self) -> None:
        with self._lock, self._errors():
            self._connection.close()

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Open a transaction: it is committed as a whole, and reads one state of the file."""
        with self._lock, self._errors():
            connection = self._connection
            if connection.in_transaction:  # a Ctrl-C came between two lines of this function
                connection.execute("ROLLBACK")
            self._patience.wait_for(lambda: _begin(connection, kind))
            try:
                yield connection
                self._patience.wait_for(lambda: connection.execute("COMMIT"))
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(f"The history {str(self._path)!r} failed: {error}.") from error


def _begin(connection: sqlite3.Connection, kind: str) -> None:
    """Begin a transaction, and take the lock that it needs."""
    connection.execute(f"BEGIN {kind}")
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _linked(nodes: Mapping[str, Node]) -> tuple[dict[str, Node], int]:
    """Return the turns, each with a parent that was written before it, and how many had none.

    Such a turn gets the one before it as its parent.
    """
    linked: dict[str, Node] = {}
    moved = 0
    for node_id, node in nodes.items():
        is_lost = node.parent is not None and node.parent not in linked
        parent = next(reversed(linked), None) if is_lost else node.parent
        linked[node_id] = replace(node, parent=parent)
        moved += is_lost
    return linked, moved


def _name_of(connection: sqlite3.Connection, session_id: str) -> tuple[str | None] | None:
    """Return the name, which may be None, in a tuple; None if there is no such session."""
    found = connection.execute("SELECT name FROM sessions WHERE id = ?", (session_id,))
    row: tuple[str | None] | None = found.fetchone()
    return row


def _check_free(connection: sqlite3.Connection, name: str) -> None:
    if connection.execute("SELECT 1 FROM sessions WHERE name = ?", (name,)).fetchone():
        raise name_taken(name)


def _session_row(session: Session, now: float) -> tuple[Any, ...]:
    undone = json.dumps(session.undone)
    return session.id, session.name, session.system, session.created, now, session.head, undone


def _node_row(session_id: str, node: Node) -> tuple[Any, ...]:
    record = None if node.record is None else record_to_json(node.record)
    extra = json.dumps(dict(node.extra), ensure_ascii=False)
    text = (node.parent, node.role, node.content, node.created, record, extra)
    return session_id, node.id, *text


def _node(row: tuple[Any, ...], damaged: set[str]) -> Node:
    """Return a turn; one of which only the text can be read is added to `damaged`."""
    node_id, parent, role, content, created, record, extra = row
    made: Record | None = None
    rest: dict[str, Any] = {}
    try:
        rest = dict(json.loads(extra))
        made = None if record is None else record_from_json(record)
    except DAMAGE:
        damaged.add(node_id)
    return Node(node_id, parent, role, content, created, made, rest)


def _undone(text: str, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """Return what `redo` returns to; nothing if that cannot be read."""
    try:
        undone = tuple(json.loads(text))
    except DAMAGE:
        return ()
    return undone if set(undone) <= set(nodes) else ()


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _hit(row: tuple[Any, ...], words: tuple[str, ...]) -> Hit:
    session, name, node, role, created, content, extra = row
    is_thought = not holds(content, words)
    parts = snippet(_thought(extra) if is_thought else content, words)
    return Hit(session, name, node, role, created, *parts, is_thought=is_thought)


def _thought(extra: bytes | str | None) -> str:
    """Return the thought in a turn's extra fields, "" where these cannot be read."""
    try:
        thought = json.loads(extra or "{}").get(THOUGHT)
    except (*DAMAGE, AttributeError):
        return ""
    return thought if isinstance(thought, str) else ""


def _pattern(words: tuple[str, ...]) -> str:
    """Return a pattern that LIKE finds in every text that holds the words, but the odd ones."""
    return f"%{''.join(map(_like, max(words, key=len)[:_LONGEST_PATTERN]))}%"


def _like(character: str) -> str:
    """Return a character for LIKE, which folds the case of ASCII alone: any one for the others."""
    is_known = character.isascii() or character == character.upper()
    return character if is_known and character != "%" else "_"


# "tulu" in ASCII: what `file` and a curious reader see in the header.
APPLICATION_ID = 0x74756C75

STEPS = (
    (
        """CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            name TEXT UNIQUE,
            system TEXT,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            head TEXT,
            undone TEXT NOT NULL
        )""",
        """CREATE TABLE nodes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            id TEXT NOT NULL,
            parent TEXT,
            role TEXT NOT NULL,
            content TEXT NOT NULL,
            created REAL NOT NULL,
            record TEXT,
            extra TEXT NOT NULL,
            UNIQUE (session, id)
        )""",
    ),
    # Version 2 had an index for searching, of FTS5 (https://sqlite.org/fts5.html). A file that went
    # through it keeps its column `indexed`, because SQLite drops columns only since 3.35.
    (),
    (
        "DROP TRIGGER IF EXISTS node_inserted",
        "DROP TRIGGER IF EXISTS node_updated",
        "DROP TRIGGER IF EXISTS node_deleted",
        "DROP TABLE IF EXISTS search",
        "DROP VIEW IF EXISTS searchable",
        "DROP INDEX IF EXISTS unindexed",
        f"CREATE INDEX odd ON nodes (seq) WHERE {_ODD}",
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this version, all of it or nothing. Raise HistoryError as `version_of`.

    The caller must hold a lock, or several programs would begin at once.
    """
    version = version_of(connection)
    if version == len(STEPS):
        return
    if version == 0:  # the file is still empty, as this needs it to be
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("BEGIN IMMEDIATE")
    for step in STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA incremental_vacuum").fetchall()  # the room of what was dropped


def version_of(connection: sqlite3.Connection) -> int:
    """Return the number of steps done on a file. Raise HistoryError if a newer tulu wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise HistoryError(
            f"The history was written by a newer tulu (its version is {version}, and this one "
            f"knows {len(STEPS)}): upgrade tulu."
        )
    return int(version)
