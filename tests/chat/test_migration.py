"""A history that an older version made is brought up to date, and one of a newer one is refused."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.chat.sessions import RECORD, answered, chat, stamp
from tulu_cli.chat.session import Session
from tulu_cli.chat.store import sqlite
from tulu_cli.chat.store.json import record_from_json, record_to_json
from tulu_cli.chat.store.open import open_history
from tulu_cli.chat.store.sqlite import STEPS
from tulu_cli.errors import HistoryError


def write_version_1(path: Path, session: Session) -> None:
    """The file as the first version made it, with a session in it."""
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in STEPS[0]:
        connection.execute(statement)
    connection.execute("PRAGMA user_version = 1")
    row = (session.id, session.name, None, session.created, 9.0, session.head, "[]")
    connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    for node in session.nodes.values():
        record = record_to_json(node.record) if node.record else None
        values = (session.id, node.id, node.parent, node.role, node.content, node.created, record)
        connection.execute("INSERT INTO nodes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, '{}')", values)
    connection.close()


def test_the_first_version_is_brought_up_to_date(path: Path) -> None:
    session = answered(chat("sky \0 one", "sky two", name="old"), "sky three")
    session = session.answer(RECORD, stamp())  # which was never ended
    write_version_1(path, session)
    for _ in range(2):
        store = open_history(path, pytest.fail)
        assert store.load(session.id) == session
        assert [hit.after for hit in store.search("sky")] == [" three", " two", " \0 one"]
        assert store.summaries()[0].updated == 9.0
        assert store._connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        store.close()


INDEX = """
    ALTER TABLE nodes ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
    UPDATE nodes SET indexed = 1;
    CREATE INDEX unindexed ON nodes (seq) WHERE NOT indexed;
    CREATE VIEW searchable AS SELECT seq, content FROM nodes WHERE indexed;
    CREATE VIRTUAL TABLE search USING fts5(content, tokenize = 'trigram', detail = 'none',
        content = 'searchable', content_rowid = 'seq');
    INSERT INTO search (search) VALUES ('rebuild');
    CREATE TRIGGER node_inserted AFTER INSERT ON nodes BEGIN
        INSERT INTO search (rowid, content) SELECT new.seq, new.content WHERE new.indexed; END;
    CREATE TRIGGER node_updated AFTER UPDATE OF content, indexed ON nodes BEGIN
        INSERT INTO search (search, rowid, content)
            SELECT 'delete', old.seq, old.content WHERE old.indexed; END;
    CREATE TRIGGER node_deleted AFTER DELETE ON nodes BEGIN
        INSERT INTO search (search, rowid, content)
            SELECT 'delete', old.seq, old.content WHERE old.indexed; END;
    PRAGMA user_version = 2;
"""


def test_the_index_of_the_second_version_is_dropped(path: Path) -> None:
    session = chat("swordfish one", "two")
    write_version_1(path, session)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(INDEX)
    connection.close()
    store = open_history(path, pytest.fail)
    assert store.load(session.id) == session
    store.write(chat("swordfish three"))
    assert [hit.after for hit in store.search("Swordfish")] == [" three", " one"]
    names = store._connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE '%auto%'")
    assert {name for (name,) in names} == {"sessions", "nodes", "odd", "sqlite_sequence"}
    store.delete(*(one.id for one in store.summaries()))
    store.close()
    assert b"sword" not in path.read_bytes()


def test_a_step_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = chat("one", "1")
    write_version_1(path, session)
    before = path.read_bytes()
    broken = (*STEPS, ("ALTER TABLE sessions ADD COLUMN more TEXT", "nonsense"))
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "STEPS", broken)
        with pytest.raises(HistoryError, match="nonsense"):
            open_history(path, pytest.fail)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    assert len(path.read_bytes()) == len(before)
    store = open_history(path, pytest.fail)
    assert store.load(session.id) == session
    store.close()


def test_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    open_history(path, pytest.fail).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="written by a newer tulu"):
        open_history(path, pytest.fail)
    assert path.read_bytes() == before


def test_a_record_of_a_later_version_is_understood() -> None:
    value = json.loads(record_to_json(RECORD))
    value["later"] = value["sampling"]["later"] = value["engine"]["later"] = [1]
    assert record_from_json(json.dumps(value)) == RECORD
