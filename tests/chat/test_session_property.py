"""Whatever is done to a conversation, in whatever order: nothing is lost and roles alternate."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.chat.sessions import RECORD, done, empty, stamp
from tulu_cli.chat.session import Node, Session
from tulu_cli.chat.store.base import MemoryStore, Store
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.chat.tree import rows

TEXTS = st.text(max_size=8)
REASONS = st.sampled_from(["stop", "length", "interrupted", "error", None])
NUMBERS = st.integers(0, 10**6)


class Chat(RuleBasedStateMachine):
    """Does to a session what a user can do, and keeps it in a store as the program does."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__()
        self.store = store or MemoryStore()
        self.session = empty()
        self.said: dict[str, Node] = {}
        self.store.write(self.session)

    @property
    def head(self) -> Node:
        return self.session.nodes[self.session.head or ""]

    def some(self, number: int) -> Node:
        return self.session.numbered(number % len(self.session.nodes) + 1)

    def now(self, session: Session) -> None:
        changed = [node for node in session.nodes.values() if node != self.said.get(node.id)]
        self.session = session
        self.store.write(session, *changed)

    @rule(text=TEXTS)
    def ask(self, text: str) -> None:
        self.now(self.session.ask(text, stamp()))

    @precondition(lambda self: self.session.turn is not None)
    @rule(text=TEXTS, reason=REASONS)
    def answer_or_retry(self, text: str, reason: str | None) -> None:
        session = self.session.answer(RECORD, stamp())
        self.finish(session, text, reason)

    @precondition(lambda self: self.session.head and self.head.role == "assistant")
    @rule(text=TEXTS, reason=REASONS)
    def resume(self, text: str, reason: str | None) -> None:
        before = self.head.content
        self.finish(self.session.resume(RECORD, stamp()), text, reason)
        assert self.head.content == before + text

    def finish(self, session: Session, text: str, reason: str | None) -> None:
        self.now(session)
        end = None if reason is None else done(reason)  # type: ignore[arg-type]
        self.said.pop(session.head or "", None)
        self.now(session.extend(session.head or "", text, end))

    @precondition(lambda self: self.session.nodes)
    @rule(number=NUMBERS, text=TEXTS)
    def edit(self, number: int, text: str) -> None:
        self.now(self.session.edit(self.some(number).id, text, stamp()))

    @precondition(lambda self: self.session.nodes)
    @rule(number=NUMBERS)
    def switch(self, number: int) -> None:
        node = self.some(number)
        self.now(self.session.switch(node.id))
        assert node in self.session.path()

    @precondition(lambda self: self.session.path())
    @rule()
    def undo_and_redo(self) -> None:
        before = self.session
        self.now(before.undo())
        assert len(self.session.path()) < len(before.path())
        assert self.session.redo() == before

    @precondition(lambda self: self.session.undone)
    @rule()
    def redo(self) -> None:
        self.now(self.session.redo())

    @rule(name=st.none() | st.just(""))
    def fork(self, name: str | None) -> None:
        fork = self.session.fork(None, stamp())
        assert fork.conversation() == self.session.conversation()
        if name is not None:  # go on in it
            self.said = {}
            self.now(fork)

    @invariant()
    def nothing_is_lost(self) -> None:
        for node_id, node in self.said.items():
            assert self.session.nodes[node_id] == node
        self.said = dict(self.session.nodes)

    @invariant()
    def the_head_is_reachable(self) -> None:
        path = self.session.path()
        assert not path or path[0].parent is None
        assert [node.parent for node in path[1:]] == [node.id for node in path[:-1]]

    @invariant()
    def roles_alternate_on_every_path(self) -> None:
        for node in self.session.nodes.values():
            roles = [one.role for one in self.session.path(node.id)]
            assert roles[0] == "user"
            assert all(one != other for one, other in pairwise(roles))

    @invariant()
    def the_tree_shows_each_turn_once(self) -> None:
        shown = list(rows(self.session))
        assert sorted(row.number for row in shown) == list(range(1, len(self.session.nodes) + 1))
        assert sum(row.is_head for row in shown) == (self.session.head is not None)

    @invariant()
    def the_store_has_it(self) -> None:
        assert self.store.load(self.session.id) == self.session


TestChatInMemory = Chat.TestCase


def test_the_same_on_disk(opened: Callable[[], SqliteStore]) -> None:
    store = opened()
    few = settings(max_examples=10, stateful_step_count=20, deadline=None)
    machine = type("OnDisk", (Chat,), {"__init__": lambda self: Chat.__init__(self, store)})
    run_state_machine_as_test(machine, settings=few)
