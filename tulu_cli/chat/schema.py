"""The tables of the history, and how a file of an older version gets them.

`user_version` counts the steps of `STEPS` that a file has gone through. The index for searching
is apart from them, because it takes an SQLite that has FTS5: see `prepare_search`.
"""

import sqlite3

from tulu_cli.errors import HistoryError

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
