"""Where the history is, who may read it, and what happens where the disk or the file is bad."""

import io
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests import mounting
from tests.chat.sessions import RECORD, answered, chat, done, said, stamp
from tests.program import NO_BYTE_CODE, environment
from tulu_cli.chat.export import FORMATS
from tulu_cli.chat.run import kept
from tulu_cli.chat.session import Session
from tulu_cli.chat.store.base import MemoryStore
from tulu_cli.chat.store.json import YEAR_9999
from tulu_cli.chat.store.open import (
    FallbackStore,
    history_path,
    open_history,
    open_store,
    read_only,
)
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.commands.history.show import heading
from tulu_cli.disk import data_root
from tulu_cli.errors import HistoryError
from tulu_cli.streams import Streams


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of the test's own."""
    with mounting.small_disk(tmp_path / "disk") as mounted:
        if not mounted:
            pytest.skip("only root may mount a small file system")
        yield tmp_path / "disk"


def test_the_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path / "data"))
    assert history_path() == tmp_path / "data" / "chats" / "history.db"
    monkeypatch.setenv("TULU_DATA_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_root() == tmp_path / "tulu"


def test_nobody_else_may_read_it(path: Path, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        store = open_history(path, pytest.fail)
        store.write(chat("secret"))
    finally:
        os.umask(mask)
    files = {file.name: mode(file) for file in path.parent.iterdir()}
    assert files.pop(".lock") & 0o111 == 0
    assert files == dict.fromkeys(("history.db", "history.db-wal", "history.db-shm"), 0o600)
    assert mode(path.parent) == 0o700
    store.close()
    path.parent.chmod(0o755)
    path.chmod(0o644)
    open_history(path, pytest.fail).close()
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_incognito_writes_nothing(path: Path) -> None:
    store = open_store(path, pytest.fail, incognito=True)
    store.write(chat("secret"))
    assert store.search("secret")
    assert not path.parent.exists()


def test_a_full_disk_warns_once_and_the_chat_goes_on_in_memory(small_disk: Path) -> None:
    path, heard = small_disk / "chats" / "history.db", list[str]()
    store = open_store(path, heard.append)
    old, session = chat("old"), chat("first", "1")
    store.write(old)
    store.write(session)
    (small_disk / "ballast").write_bytes(bytes(700_000))
    for number in range(20):
        session = answered(session.ask(f"{number} " * 20_000, stamp()), "yes")
        store.write(session, *session.path()[-2:])
        assert store.load(session.id) == session
    store.write(chat("second"))
    assert len(heard) == 1
    assert "database or disk is full" in heard[0]
    assert heard[0].endswith("is kept in memory until it can be written again.")
    assert [one.title[:6] for one in store.summaries()] == ["second", "first", "old"]
    assert [hit.match for hit in store.search("OLD")] == ["old"]
    assert store.load(old.id) == old
    assert open_history(path, pytest.fail).load(session.id).path()[0].content == "first"


def test_a_disk_with_room_again_gets_all_that_waited(small_disk: Path) -> None:
    path, heard = small_disk / "chats" / "history.db", list[str]()
    store = open_store(path, heard.append)
    first = chat("first")
    store.write(first)
    fill(small_disk)
    left = [answered(chat(f"left {number} " * 9_000), "yes") for number in range(3)]
    for session in left:
        store.write(session, *session.path())
    first = first.ask("again " * 9_000, stamp())
    store.write(first, *first.path()[-1:])
    assert store.load(first.id) == first
    (small_disk / "ballast").unlink()
    last = chat("last")
    store.write(last)
    assert [line.partition(" From")[0][-8:] for line in heard] == ["is full.", "waiting."]
    store.close()
    again = open_history(path, pytest.fail)
    for session in (first, *left, last):
        assert again.load(session.id) == session
    again.close()


def test_what_waited_is_written_at_the_end_or_named(small_disk: Path) -> None:
    path, heard = small_disk / "chats" / "history.db", list[str]()
    open_history(path, pytest.fail).close()
    fill(small_disk)
    for is_full in (True, False):
        store = open_store(path, heard.append)
        session = chat("word " * 20_000)
        store.write(session)
        print(heard, store)
        if is_full:
            with pytest.raises(
                HistoryError, match=r"1 session \('word word .*could not be written"
            ):
                store.close()
            continue
        (small_disk / "ballast").unlink()
        store.close()
        again = open_history(path, pytest.fail)
        assert [again.load(one.id) for one in again.summaries()] == [session]
        again.close()


def test_only_what_changed_here_is_written_late(
    path: Path, opened: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program goes on with its answer meanwhile: an older copy must not replace it."""
    other, disk, heard = opened(), opened(), list[str]()
    theirs = chat("theirs").answer(RECORD, stamp())
    other.write(theirs)
    store = FallbackStore(disk, heard.append)
    ours = store.load(theirs.id).ask("ours", stamp())
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", failing)
        store.write(ours, ours.nodes[ours.head or ""])
        theirs = theirs.extend(theirs.head or "", "grown", done())
        other.write(theirs, theirs.nodes[theirs.head or ""])
    store.write(chat("another"))
    assert [node.content for node in other.load(theirs.id).nodes.values()] == [
        "theirs", "grown", "ours",
    ]  # fmt: skip


def test_a_name_that_was_taken_meanwhile_costs_no_session(
    opened: Callable[[], SqliteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, disk, heard = opened(), opened(), list[str]()
    store = FallbackStore(disk, heard.append)
    late = chat("late", name="mine")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", failing)
        store.write(late)
    other.write(chat("early", name="mine"))
    store.close()
    assert other.load(late.id).path() == late.path()
    assert "Another session is named 'mine'" in heard[1]
    assert heard[1].endswith(f"What waited under that name is stored as {late.id}.")


def test_what_is_lost_at_the_end_is_a_failure_and_hides_no_other() -> None:
    class Losing(MemoryStore):
        def close(self) -> None:
            raise HistoryError("It was lost.")

    streams = Streams.test()
    with pytest.raises(HistoryError, match="lost"), kept(Losing(), streams):
        pass
    assert said_to(streams) == ""
    with pytest.raises(SystemExit), kept(Losing(), streams):
        sys.exit(143)
    assert said_to(streams) == "tulu: It was lost.\n"


def said_to(streams: Streams) -> str:
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stderr.getvalue().decode()


def failing(*_: object) -> None:
    raise HistoryError("It failed.")


def fill(disk: Path) -> None:
    """Write a file until the disk takes no more."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_disk_that_may_not_be_written_can_be_read(small_disk: Path) -> None:
    path, heard = small_disk / "chats" / "history.db", list[str]()
    store = open_history(path, pytest.fail)
    session = chat("first", "1")
    store.write(session)
    store.close()
    assert mounting.mount("-o", "remount,ro", str(small_disk))
    chatting = open_store(path, heard.append)
    assert chatting.load(session.id) == session
    assert [hit.match for hit in chatting.search("FIRST")] == ["first"]
    session = session.ask("two", stamp())
    chatting.write(session, session.nodes[session.head or ""])
    assert said(chatting.load(session.id)) == ["first", "1", "two"]
    assert len(chatting.summaries()) == 1
    assert len(heard) == 1
    assert "readonly database" in heard[0]
    assert mounting.mount("-o", "remount,rw", str(small_disk))
    chatting.close()
    again = open_history(path, pytest.fail)
    assert again.load(session.id) == session
    again.close()


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    heard = list[str]()
    store = open_store(tmp_path / "file" / "chats" / "history.db", heard.append)
    assert isinstance(store, MemoryStore)
    assert len(heard) == 1
    assert "(Not a directory)" in heard[0]
    assert heard[0].endswith("or set TULU_DATA_DIR to another folder. "
                             "This chat is kept in memory only.")  # fmt: skip


def test_a_file_size_limit_is_a_full_disk(path: Path) -> None:
    """Needs no rights: the kernel refuses to let any file grow beyond the limit."""
    script = f"""
import resource
from pathlib import Path
from tests.chat.sessions import chat, stamp
from tulu_cli.chat.store.open import open_store
store = open_store(Path({str(path)!r}), print)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, {resource.RLIM_INFINITY}))
session = chat("first")
for number in range(9):
    store.write(session, *session.path()[-1:])
    assert store.load(session.id) == session
    session = session.ask("x" * 100_000, stamp())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(NO_BYTE_CODE),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("tulu: ") == 1
    assert done.stderr == ""
    store = open_history(path, pytest.fail)
    nodes = store.load(store.summaries()[0].id).nodes.values()
    kept = [node.content for node in nodes]
    assert 1 <= len(kept) < 5
    assert [text[:5] for text in kept] == ["first", *["xxxxx"] * (len(kept) - 1)]
    store.close()


@pytest.mark.parametrize(
    "content", [b"not SQLite at all, but text\n" * 100, b"SQLite format 3\0junk"]
)
def test_a_damaged_file_is_kept_aside(path: Path, content: bytes) -> None:
    heard = list[str]()
    for number in (1, 2):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.with_name("history.db-wal").write_bytes(b"log")
        store = open_history(path, heard.append)
        store.write(chat("new"))
        store.close()
        aside = path.with_name(f"history.damaged-{number}.db")
        assert aside.read_bytes() == content
        assert str(aside) in heard[number - 1]
    assert len(heard) == 2


def test_damage_that_sqlite_names_by_bytes_is_kept_aside(path: Path) -> None:
    """Python's sqlite3 raises UnicodeDecodeError for a message that quotes them."""
    open_history(path, pytest.fail).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        wrong = "name = CAST(x'f3' AS TEXT), sql = 'CREATE TABLE'"
        connection.execute(f"UPDATE sqlite_master SET {wrong} WHERE name = 'nodes'")
        connection.commit()
    content = path.read_bytes()
    heard = list[str]()
    store = open_history(path, heard.append)
    store.write(chat("new"))
    assert path.with_name("history.damaged-1.db").read_bytes() == content
    assert len(heard) == 1
    aside = read_only(path.with_name("history.damaged-1.db"))
    assert aside is not None
    with pytest.raises(HistoryError, match="not UTF-8"):
        aside.summaries()
    aside.close()


def test_damage_inside_is_one_sentence_and_nothing_is_overwritten(path: Path) -> None:
    store = open_history(path, pytest.fail)
    session = chat("x" * 100_000, "1")
    store.write(session)
    store.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 :] = bytes(len(damaged) - 4096 * 3)
    path.write_bytes(damaged)
    heard = list[str]()
    store = open_history(path, heard.append)
    with pytest.raises(HistoryError, match="malformed"):
        store.load(session.id)
    chatting = FallbackStore(store, heard.append)
    assert chatting.search("x") == []
    chatting.write(session)
    assert chatting.load(session.id) == session
    assert len(heard) == 1


@pytest.fixture
def holder(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program, which holds the history until it is closed."""
    open_history(path, pytest.fail).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_a_held_history_is_waited_for_with_a_word(
    path: Path, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = list[str]()

    def release() -> bool:
        if heard:
            holder.execute("ROLLBACK")
        return True

    monkeypatch.setattr("tulu_cli.chat.store.sqlite.SAID_AFTER_SECONDS", 0.0)
    store = open_store(path, heard.append, may_wait=release)
    holder.execute("BEGIN EXCLUSIVE")
    session = chat("one")
    store.write(session)
    assert heard == ["tulu: waiting for the history, which another program holds."]
    assert store.load(session.id) == session
    store.close()


def test_what_was_waited_for_in_vain_is_not_waited_for_again(
    path: Path, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, asked = list[str](), list[bool]()

    def may_wait() -> bool:
        asked.append(True)
        return len(asked) % 2 == 1

    store = open_store(path, heard.append, may_wait=may_wait)
    holder.execute("BEGIN IMMEDIATE")
    for text in ("one", "two", "three"):
        store.write(chat(text))
    assert len(asked) == 2, "twice in the first write, and never again"
    assert len(heard) == 1
    with pytest.raises(HistoryError, match=r"3 sessions \('three', 'two', 'one'\)"):
        store.close()
    assert len(asked) == 4, "the end is worth another wait"


def test_a_history_that_is_free_again_is_waited_for_again(
    path: Path, holder: sqlite3.Connection
) -> None:
    heard, asked = list[str](), list[bool]()

    def may_not_wait() -> bool:
        asked.append(True)
        return False

    store = open_store(path, heard.append, may_wait=may_not_wait)
    for number in (1, 2):
        holder.execute("BEGIN IMMEDIATE")
        store.write(chat("held"))
        assert len(asked) == number
        holder.execute("ROLLBACK")
        store.write(chat("free"))
    store.close()
    store = open_history(path, pytest.fail)
    assert len(store.summaries()) == 4
    store.close()


def test_a_history_that_is_held_while_it_is_opened(
    path: Path, holder: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tulu_cli.chat.store.sqlite.BUSY_SECONDS", 0.0)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(HistoryError, match="is held by another program: end that"):
        open_history(path, pytest.fail)


DAMAGE = {
    "not JSON": "'x'",
    "a number": "'7'",
    "an array": "'[]'",
    "empty": "'{}'",
    "not text": "x'ff00'",
    "not UTF-8": "CAST(x'7b22ff22' AS TEXT)",
    "deep": "replace(hex(zeroblob(50000)), '00', '[')",
    "no end": "json_remove(record, '$.done')",
    "no engine": "json_set(record, '$.engine', json('null'))",
    "a model of a number": "json_set(record, '$.engine.model', 7)",
    "versions of numbers": "json_set(record, '$.engine.versions', json('{\"x\": 7}'))",
    "sampling of a number": "json_set(record, '$.sampling', 7)",
    "a temperature of a text": "json_set(record, '$.sampling.temperature', 'x')",
    "a stop of a number": "json_set(record, '$.sampling.stop', json('[7]'))",
    "a limit of true": "json_set(record, '$.sampling.max_tokens', json('true'))",
    "a count of a text": "json_set(record, '$.done.usage.prompt_tokens', 'x')",
    "no such reason": "json_set(record, '$.done.finish_reason', 'tired')",
    "a start of a text": "json_set(record, '$.start', 'x')",
}


def damage_file(path: Path, *statements: str) -> None:
    """Change the history behind the program's back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


LINKS = {
    "a parent that is gone": "UPDATE nodes SET parent = 'gone' WHERE seq = 3",
    "a parent that is itself": "UPDATE nodes SET parent = id WHERE seq = 3",
    "a parent that is below": "UPDATE nodes SET parent = (SELECT id FROM nodes WHERE seq = 4)"
    " WHERE seq = 3",
    "a parent of bytes": "UPDATE nodes SET parent = x'ff' WHERE seq = 3",
}


@pytest.mark.parametrize("damage", LINKS.values(), ids=LINKS)
def test_a_damaged_link_costs_no_turn(path: Path, damage: str) -> None:
    heard = list[str]()
    store = open_history(path, heard.append)
    session = chat("one", "1", "two", "2", name="numbers")
    store.write(session)
    damage_file(path, damage)
    assert store.load(session.id) == session, "each stands after the one before"
    (said_of_it,) = heard
    assert "the place of 1 turn of session numbers is lost" in said_of_it


@pytest.mark.parametrize("head", ["'gone'", "x'ff'"])
def test_a_damaged_head_is_the_last_turn(path: Path, head: str) -> None:
    heard = list[str]()
    store = open_history(path, heard.append)
    session = chat("one", "1", "two", "2", name="numbers")
    store.write(session)
    damage_file(path, f"UPDATE sessions SET head = {head}")
    assert store.load(session.id) == session
    assert len(heard) == 1
    assert "where session numbers stood is lost" in heard[0]


def test_a_turn_that_is_gone_takes_no_other_with_it(path: Path) -> None:
    heard = list[str]()
    store = open_history(path, heard.append)
    session = chat("one", "1", "two", "2")
    store.write(session)
    damage_file(path, "DELETE FROM nodes WHERE seq = 2")
    assert said(store.load(session.id)) == ["one", "two", "2"]
    assert len(heard) == 1


@pytest.mark.parametrize("value", ["7", "'x'", "x'ff41'", "1e300", "-1e300"])
@pytest.mark.parametrize("column", ["content", "created", "extra"])
def test_a_value_of_another_type_stops_no_other(path: Path, column: str, value: str) -> None:
    store = open_history(path, lambda _line: None)
    session = chat("one", "1", "two", "2", name="numbers")
    store.write(session)
    damage_file(
        path,
        f"UPDATE nodes SET {column} = {value} WHERE seq = 2",
        f"UPDATE sessions SET created = {value}, updated = {value}",
        f"UPDATE sessions SET system = {value}, undone = {value}",
    )
    loaded = store.load(session.id)
    assert [node.content for node in loaded.nodes.values()][2:] == ["two", "2"]
    for form in FORMATS:
        assert "two" in form.write([loaded])
    for one in (loaded.created, *(node.created for node in loaded.nodes.values())):
        assert 0 <= one < YEAR_9999
    (summary,) = store.summaries()
    assert 0 <= summary.updated < YEAR_9999
    assert store.search("two")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_costs_no_text(path: Path, damage: str) -> None:
    heard = list[str]()
    store = open_history(path, heard.append)
    session = chat("one", "1", "two", "2", name="numbers")
    store.write(session)
    first = session.path()[1].id
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE nodes SET record = {damage} WHERE id = ?", (first,))
        connection.commit()
    loaded = store.load(session.id)
    without = replace(session.nodes[first], record=None)
    assert loaded == replace(session, nodes={**session.nodes, first: without})
    where = "of 1 turn of session numbers only the text can be read."
    assert heard == [f"tulu: the history is damaged: {where}"]
    assert [hit.match for hit in store.search("1")] == ["1"]
    for write in (one.write for one in FORMATS if one.holds_many):
        assert write([loaded])
    assert "assistant" in heading(loaded.nodes[first])
    store.close()


def test_damage_beside_the_record_costs_no_text_either(path: Path) -> None:
    heard = list[str]()
    store = open_history(path, heard.append)
    session = chat("one", "1", "two", "2").undo()
    store.write(session)
    damage_file(
        path,
        "UPDATE nodes SET extra = 'x' WHERE role = 'user'",
        "UPDATE nodes SET content = CAST(x'6f6eff' AS TEXT) WHERE seq = 1",
        "UPDATE sessions SET undone = '[7]'",
    )
    loaded = store.load(session.id)
    assert said(loaded) == ["on\ufffd", "1"]
    assert loaded.undone == ()
    assert "of 2 turns" in heard[0]
    assert [hit.match for hit in store.search("ON")] == ["on"]
    store.close()


def test_a_text_that_is_not_unicode_changes_nothing(opened: Callable[[], SqliteStore]) -> None:
    store = opened()
    session = chat("one")
    store.write(session)
    worse = session.ask("\ud800", stamp())
    with pytest.raises(UnicodeEncodeError):
        store.write(worse, *worse.nodes.values())
    assert store.load(session.id) == session


def test_a_closed_store_says_so(path: Path) -> None:
    store = open_history(path, pytest.fail)
    store.close()
    with pytest.raises(HistoryError, match="closed"):
        store.write(Session("x", 0.0))
