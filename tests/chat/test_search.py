"""Searching the history: what is found, in every store alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chat.sessions import RECORD, answered, chat, done, stamp
from tulu_cli.chat.store.base import MemoryStore, Store, holds, snippet, words_of
from tulu_cli.chat.store.sqlite import SqliteStore

TEXTS = [
    "Why is the sky blue?",
    "Über Größe spricht man nicht. STRASSE",
    "天空はなぜ青いのですか",
    "50% of a_b",
    "a\0b sky after a NUL",
    "the\nsky\tis\r\nup",
    "",
    "ﬁne ŉight İstanbul",
    "\u212aelvin",
    "emoji 👩‍👩‍👧 here",
]
QUERIES = [
    *("SKY", "sky the", "sky -blue", '"sky"', "'", "*", "a", "zzz", "  ", "nul", "50%", "a_b", "%"),
    *("über", "größe", "strasse", "空は", "_", "fine", "ﬁne", "👩", "kelvin", "\u212a"),
    *("istanbul", "İstanbul", "i", "is\u212a"),
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_store_finds_the_same(store: Store, query: str) -> None:
    for text in TEXTS:
        store.write(chat(text))
    expected = [text for text in TEXTS[::-1] if words_of(query) and holds(text, words_of(query))]
    hits = store.search(query)
    shown = [snippet(text, words_of(query)) for text in expected]
    assert [(hit.before, hit.match, hit.after) for hit in hits] == shown


@given(st.lists(st.text(max_size=12), max_size=4), st.text(max_size=4))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_pattern_hides_nothing(
    opened: Callable[[], SqliteStore], texts: list[str], query: str
) -> None:
    store, memory = opened(), MemoryStore()
    sessions = [chat(text) for text in texts]
    for session in sessions:
        store.write(session)
        memory.write(session)
    assert store.search(query) == memory.search(query)
    store.delete(*(session.id for session in sessions))
    assert store.search(query) == []
    store.close()


def test_a_word_longer_than_any_pattern_is_found(store: Store) -> None:
    store.write(chat("x" * 60_000 + "y"))
    assert [len(hit.match) for hit in store.search("X" * 60_000 + "Y")] == [60_001]
    assert store.search("x" * 60_000 + "z") == []


def test_what_is_found_is_shown_with_what_is_around_it() -> None:
    text = "x" * 100 + " the\nNEEDLE is " + "y" * 100
    before, match, after = snippet(text, ("needle",))
    assert (before[:2], before[-5:], match) == ("…x", " the ", "NEEDLE")
    assert (after[:4], after[-2:]) == (" is ", "y…")
    assert snippet("ﬁﬁﬁ needle", ("needle",)) == ("ﬁﬁﬁ ", "needle", "")


def test_an_answer_is_found_while_it_grows_and_as_it_is_at_the_end(
    opened: Callable[[], SqliteStore],
) -> None:
    store = opened()
    session = chat("question").answer(RECORD, stamp())
    for text, end in (("first", None), (" second", None), (" third", done())):
        session = session.extend(session.head or "", text, end)
        store.write(session, session.nodes[session.head or ""])
        assert len(store.search(f"first {text}")) == 1


def test_the_newest_is_found_first_and_no_more_than_asked_for(store: Store) -> None:
    session = chat("sky 1", "sky 2", "sky 3")
    store.write(session)
    assert [hit.after for hit in store.search("sky", limit=2)] == [" 3", " 2"]
    assert {hit.session_id for hit in store.search("sky")} == {session.id}


def test_what_was_deleted_is_not_in_the_file(opened: Callable[[], SqliteStore], path: Path) -> None:
    store = opened()
    session = answered(chat("the secret is swordfish"), "swordfish it is")
    store.write(session)
    store.delete(session.id)
    store.close()
    assert b"swordfish" not in path.read_bytes()
