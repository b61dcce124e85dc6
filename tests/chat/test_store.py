"""The verbs that every store has, on disk and in memory."""

from dataclasses import replace

import pytest

from tests.chat.sessions import RECORD, answered, chat, done, said, stamp
from tulu_cli.chat.store.base import Store, find_session
from tulu_cli.core import Message
from tulu_cli.errors import UsageError

ODD = [
    "",
    "NUL \0 inside",
    "\r\n\t \u2028",
    "e\u0301 and é",
    "\x1b[2J",
    "👩‍👩‍👧",
    "\ufeff",
    "😀" * 1000,
]


def test_a_session_comes_back_as_it_was(store: Store) -> None:
    session = answered(chat("one", "1", "two", "2", name="numbers", system="Count."), "II")
    session = session.undo().add(Message("tool", "42", {"id": 1, "deep": [{"ü": None}]}), stamp())
    store.write(session)
    assert store.load(session.id) == session


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_every_text_comes_back(store: Store, text: str) -> None:
    session = chat(text, text, system=text)
    store.write(session)
    assert store.load(session.id) == session


def test_a_message_of_10_mb_comes_back(store: Store) -> None:
    session = chat("ab cd\n" * 1_750_000)
    store.write(session)
    assert store.load(session.id) == session
    assert [hit.match for hit in store.search("AB CD")] == ["ab"]


def test_a_chat_is_written_turn_by_turn(store: Store) -> None:
    session = chat("one")
    store.write(session)
    session = session.answer(RECORD, stamp())
    answer = session.head or ""
    store.write(session, session.nodes[answer])
    assert store.load(session.id).nodes[answer].is_void
    session = session.extend(answer, "par")
    store.write(session, session.nodes[answer])
    assert store.load(session.id).nodes[answer].finish_reason == "interrupted"
    session = session.extend(answer, "tial", done())
    store.write(session, session.nodes[answer])
    session = session.undo()
    store.write(session)
    assert store.load(session.id) == session


def test_what_is_not_there(store: Store) -> None:
    for verb in (store.load, lambda session_id: store.rename(session_id, "x")):
        with pytest.raises(UsageError, match="There is no session 'nope'"):
            verb("nope")
    store.delete("nope")
    assert store.summaries() == []
    assert store.search("x") == []


def test_the_last_written_is_listed_first(store: Store) -> None:
    old, new = chat("first\nline " * 100, "1"), chat("second", name="two")
    store.write(old)
    store.write(new)
    assert [(one.id, one.name, one.turns) for one in store.summaries()] == [
        (new.id, "two", 1),
        (old.id, None, 2),
    ]
    assert store.summaries()[1].title.startswith("first line first line")
    assert len(store.summaries()[1].title) <= 200
    store.write(old)
    assert [one.id for one in store.summaries()] == [old.id, new.id]


def test_a_name_is_only_one_sessions(store: Store) -> None:
    one, two = chat("one", name="mine"), chat("two")
    store.write(one)
    with pytest.raises(UsageError, match="Another session is named 'mine'"):
        store.write(replace(two, name="mine"))
    store.write(two)
    with pytest.raises(UsageError, match="Another session is named 'mine'"):
        store.rename(two.id, "mine")
    store.rename(one.id, "mine")
    store.rename(one.id, "yours")
    store.write(one)  # whose value still says "mine"
    store.rename(two.id, "mine")
    assert {one.name for one in store.summaries()} == {"mine", "yours"}
    store.rename(two.id, None)
    assert store.load(two.id).name is None


def test_what_is_deleted_is_gone(store: Store) -> None:
    one, two = chat("apple", "pear"), chat("apple")
    store.write(one)
    store.write(two)
    store.delete(one.id)
    assert [hit.session_id for hit in store.search("apple")] == [two.id]
    with pytest.raises(UsageError):
        store.load(one.id)


def test_a_chat_that_goes_on_after_it_was_deleted_is_whole_again(store: Store) -> None:
    session = chat("one", "1")
    store.write(session)
    store.delete(session.id)
    session = session.ask("two", stamp())
    store.write(session, session.nodes[session.head or ""])
    assert said(store.load(session.id)) == ["one", "1", "two"]


def test_a_session_is_found_by_its_id_a_part_of_it_or_its_name(store: Store) -> None:
    base = chat("x")
    for session_id, name in (("abc1", None), ("abc2", "abc"), ("d", "abc1")):
        store.write(replace(base, id=session_id, name=name))
    summaries = store.summaries()
    assert find_session(summaries, "abc1") == "abc1", "an id goes before a name"
    assert find_session(summaries, "abc") == "abc2", "a name before a part of an id"
    assert find_session(summaries, "d") == "d"
    with pytest.raises(UsageError, match="ab is the beginning of 2 sessions: abc1, abc2"):
        find_session(summaries, "ab")
    for text in ("", "x"):
        with pytest.raises(UsageError, match="There is no session"):
            find_session(summaries, text)
