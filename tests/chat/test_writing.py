"""Answers reach the store while they are written, without being asked to, and whole at the end."""

from threading import Event

import pytest

from tests.chat.sessions import RECORD, chat, done, stamp
from tests.program import DEADLINE_SECONDS, eventually
from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store.base import MemoryStore
from tulu_cli.chat.turn import EVERY_SECONDS, Writing
from tulu_cli.errors import HistoryError


class Counting(MemoryStore):
    """Counts what is written, and fails where it is told to."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.write(session)
        self.written: list[tuple[str, ...]] = []
        self.is_broken = Event()
        self.has_failed = Event()

    def write(self, session: Session, *nodes: Node) -> None:
        if nodes and self.is_broken.is_set():
            self.has_failed.set()
            raise HistoryError("It broke.")
        super().write(session, *nodes)
        if nodes:
            self.written.append(tuple(node.content for node in nodes))


def begun(answers: int = 1) -> Session:
    session = chat("one")
    for _ in range(answers):
        session = session.answer(RECORD, stamp())
    return session


def text(store: MemoryStore, session: Session) -> str:
    return store.load(session.id).nodes[session.head or ""].content


def test_it_is_often_enough() -> None:
    assert EVERY_SECONDS <= 0.5, "with the time that a write takes, it is to be within a second"


def test_what_has_come_is_in_the_store_before_the_end() -> None:
    session = begun()
    store = Counting(session)
    expected = ""
    with Writing(store, session, every=0.001) as writing:
        for piece in ("It ", "is ", "so."):
            writing.add(session.head or "", piece)
            expected += piece
            assert eventually(lambda said=expected: store.written[-1:] == [(said,)])  # type: ignore[misc]
        assert writing.session == store.load(session.id)
        writing.end(session.head or "", done())
    assert store.load(session.id).nodes[session.head or ""].finish_reason == "stop"
    assert store.load(session.id) == writing.session


def test_an_engine_that_says_nothing_is_no_reason_to_write() -> None:
    session = begun()
    store = Counting(session)
    waited = Event()

    class Patient(Writing):
        def _write(self) -> None:
            super()._write()
            waited.set()

    with Patient(store, session, every=0.001):
        for _ in range(3):
            waited.clear()
            assert waited.wait(DEADLINE_SECONDS)
    assert store.written == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), SystemExit(143)])
def test_whatever_ends_it_all_is_written(error: BaseException) -> None:
    session = begun()
    store = Counting(session)
    with pytest.raises(type(error)), Writing(store, session, every=60) as writing:  # noqa: PT012
        writing.add(session.head or "", "par")
        writing.add(session.head or "", "tial")
        raise error
    node = store.load(session.id).nodes[session.head or ""]
    assert (node.content, node.finish_reason) == ("partial", "interrupted")
    assert store.written == [("partial",)]


def test_several_answers_at_once() -> None:
    session = begun(answers=2)
    store = Counting(session)
    first, second = (node.id for node in session.nodes.values() if node.role == "assistant")
    with Writing(store, session, every=60) as writing:
        writing.add(second, "2")
        writing.add(first, "1")
        writing.end(second, done())
        writing.add(first, "!")
        writing.end(first, done("length"))
    nodes = store.load(session.id).nodes
    assert [(nodes[one].content, nodes[one].finish_reason) for one in (first, second)] == [
        ("1!", "length"),
        ("2", "stop"),
    ]


def test_a_store_that_fails_for_a_while_gets_it_all_later() -> None:
    session = begun()
    store = Counting(session)
    store.is_broken.set()
    with Writing(store, session, every=0.001) as writing:
        writing.add(session.head or "", "a")
        assert store.has_failed.wait(DEADLINE_SECONDS)
        store.is_broken.clear()
        assert eventually(lambda: store.written == [("a",)])


def test_a_store_that_fails_at_the_end_says_so() -> None:
    session = begun()
    store = Counting(session)
    store.is_broken.set()
    with pytest.raises(HistoryError), Writing(store, session, every=60) as writing:
        writing.add(session.head or "", "a")
    assert writing.session.nodes[session.head or ""].content == "a"
