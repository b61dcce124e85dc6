"""The history on disk: one SQLite file, which several programs may read and write at once.

The tables of the history, and how a file of an older version gets them.

`user_version` counts the steps of `STEPS` that a file has gone through. The index for searching
is apart from them, because it takes an SQLite that has FTS5: see `prepare_search`.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tulu_cli.chat.session import Node, Session
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
from tulu_cli.chat.store.json import record_from_json, record_to_json
from tulu_cli.errors import HistoryError

# Longer texts, pasted files most often, would make a turn wait for the index.
LONGEST_INDEXED = 1_000_000  # characters
# SQL ends a text at a NUL; and lower case makes ASCII of these two, which LIKE does not know.
_NOT_INDEXED = "\0\u0130\u212a"

_WRITE_SESSION = """
    INSERT INTO sessions (id, name, system, created, updated, head, undone)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET system = excluded.system, updated = excluded.updated,
        head = excluded.head, undone = excluded.undone
"""
_WRITE_NODE = """
    INSERT INTO nodes (session, id, parent, role, content, created, record, extra, indexed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session, id) DO UPDATE SET content = excluded.content,
        record = excluded.record, indexed = excluded.indexed
"""
_READ_SESSION = "SELECT created, name, system, head, undone FROM sessions WHERE id = ?"
_READ_NODES = """
    SELECT id, parent, role, content, created, record, extra FROM nodes
    WHERE session = ? ORDER BY seq
"""
_SUMMARIES = """
    SELECT id, name, created, updated,
        (SELECT substr(content, 1, 400) FROM nodes
            WHERE session = sessions.id AND role = 'user' ORDER BY seq LIMIT 1),
        (SELECT count(*) FROM nodes WHERE session = sessions.id)
    FROM sessions ORDER BY updated DESC, rowid DESC
"""
_SEARCH = """
    SELECT session, name, nodes.id, role, nodes.created, content
    FROM nodes JOIN sessions ON sessions.id = session
    WHERE holds(content) ORDER BY seq DESC LIMIT :limit
"""
_SEARCH_INDEX = _SEARCH.replace(
    "WHERE",
    "WHERE (NOT indexed OR seq IN (SELECT rowid FROM search WHERE content LIKE :pattern)) AND",
)


class SqliteStore:
    """A `Store` over an open connection. Any thread may call it; a lock keeps their turns apart.

    `has_index` says whether the connection can use the index for searching. `clock` gives seconds
    since the epoch.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        has_index: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._path = path
        self._has_index = has_index
        self._clock = clock
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
        nodes = {node.id: node for node in map(_node, rows)}
        return Session(session_id, created, name, system, nodes, head, tuple(json.loads(undone)))

    def summaries(self) -> list[Summary]:
        with self._transaction("DEFERRED") as connection:
            rows = connection.execute(_SUMMARIES).fetchall()
        return [
            Summary(session, name, title_of(first or ""), created, updated, turns)
            for session, name, created, updated, first, turns in rows
        ]

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        words = words_of(text)
        if not words:
            return []
        query = _SEARCH_INDEX if self._has_index else _SEARCH
        parameters = {"pattern": _pattern(words), "limit": limit}
        with self._transaction("DEFERRED") as connection:
            connection.create_function("holds", 1, lambda content: holds(content, words))
            rows = connection.execute(query, parameters).fetchall()
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
            # Its nodes go with it, and out of the index.
            connection.executemany("DELETE FROM sessions WHERE id = ?", rows)
            if self._has_index:  # whose old segments still hold the words
                connection.execute("INSERT INTO search (search) VALUES ('optimize')")
        with self._lock, self._errors():  # the file gets smaller, and the log empty
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        with self._lock, self._errors():
            self._connection.close()

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """A transaction that is committed as a whole; a reader's sees one state of the file."""
        with self._lock, self._errors():
            connection = self._connection
            if connection.in_transaction:  # a Ctrl-C came between two lines of this function
                connection.execute("ROLLBACK")
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
                connection.execute("COMMIT")
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


def _name_of(connection: sqlite3.Connection, session_id: str) -> tuple[str | None] | None:
    """The name, which may be None, in a row; None where there is no such session."""
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
    return session_id, node.id, *text, _can_be_indexed(node)


def _can_be_indexed(node: Node) -> bool:
    """Whether the node will not change any more, and the index finds all that `holds` does."""
    is_ended = node.record is None or node.record.done is not None
    is_easy = not any(character in node.content for character in _NOT_INDEXED)
    return is_ended and is_easy and len(node.content) <= LONGEST_INDEXED


def _node(row: tuple[Any, ...]) -> Node:
    node_id, parent, role, content, created, record, extra = row
    made = None if record is None else record_from_json(record)
    return Node(node_id, parent, role, content, created, made, json.loads(extra))


def _hit(row: tuple[Any, ...], words: tuple[str, ...]) -> Hit:
    session, name, node, role, created, content = row
    return Hit(session, name, node, role, created, *snippet(content, words))


def _pattern(words: tuple[str, ...]) -> str:
    """What LIKE finds in every text that may hold the words, and in few others.

    LIKE knows the case of ASCII alone, so all else is left to `holds`, and so are its wildcards.
    """
    patterns = ("".join(map(_like, word)) for word in words)
    return f"%{max(patterns, key=len)}%"


def _like(character: str) -> str:
    return character if character.isascii() and character not in "%_" else "%"


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
    (
        # A node that is still growing, or that the index cannot hold well, is searched itself.
        "ALTER TABLE nodes ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0",
        """UPDATE nodes SET indexed = 1 WHERE length(CAST(content AS BLOB)) <= 1000000
            AND instr(CAST(content AS BLOB), x'00') = 0
            AND instr(content, char(0x130)) = 0 AND instr(content, char(0x212A)) = 0
            AND (record IS NULL OR json_extract(record, '$.done') IS NOT NULL)""",
        "CREATE INDEX unindexed ON nodes (seq) WHERE NOT indexed",
        "CREATE VIEW searchable AS SELECT seq, content FROM nodes WHERE indexed",
    ),
)

# Trigrams find parts of words, and words of languages that put no space between them.
_INDEX = """CREATE VIRTUAL TABLE search USING fts5(
    content, tokenize = 'trigram', detail = 'none', content = 'searchable', content_rowid = 'seq'
)"""
_ADD = "INSERT INTO search (rowid, content) SELECT new.seq, new.content WHERE new.indexed;"
_TAKE = (
    "INSERT INTO search (search, rowid, content)"
    " SELECT 'delete', old.seq, old.content WHERE old.indexed;"
)
_TRIGGERS = {
    "node_inserted": f"AFTER INSERT ON nodes BEGIN {_ADD} END",
    "node_updated": f"AFTER UPDATE OF content, indexed ON nodes BEGIN {_TAKE} {_ADD} END",
    "node_deleted": f"AFTER DELETE ON nodes BEGIN {_TAKE} END",
}


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to this version, all of it or nothing. Raises what `version_of` raises.

    The caller holds a lock, or several programs would begin at once.
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


def version_of(connection: sqlite3.Connection) -> int:
    """The steps that a file has gone through. Raises HistoryError for one of a newer tulu."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise HistoryError(
            f"The history was written by a newer tulu (its version is {version}, and this one "
            f"knows {len(STEPS)}): upgrade tulu."
        )
    return int(version)


def prepare_search(connection: sqlite3.Connection) -> bool:
    """Make the index for searching if this SQLite can; says whether there is one.

    An SQLite that cannot must not be stopped by the index that another one made, and so takes its
    triggers away; the next one that can builds it anew.
    """
    if not has_trigrams(connection):
        for name in _TRIGGERS:
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        return False
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not _TRIGGERS.keys() <= names:
        _build_index(connection, exists="search" in names)
    return True


def has_trigrams(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite has FTS5 with its trigram tokenizer, which came with 3.34."""
    modules = {name for (name,) in connection.execute("PRAGMA module_list")}
    return "fts5" in modules and sqlite3.sqlite_version_info >= (3, 34)


def _build_index(connection: sqlite3.Connection, *, exists: bool) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if not exists:
        connection.execute(_INDEX)
    connection.execute("INSERT INTO search (search) VALUES ('rebuild')")
    for name, rest in _TRIGGERS.items():
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(f"CREATE TRIGGER {name} {rest}")
    connection.execute("COMMIT")
