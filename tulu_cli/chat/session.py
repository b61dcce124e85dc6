"""A conversation as a tree of turns. Each operation on it gives a new value and takes no turn away.

The path from a root to `head` is the conversation as it stands; what is beside it was said too.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tulu_cli.core import Conversation, Done, EngineInfo, FinishReason, Message, Sampling
from tulu_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a new turn is known by: an id that no other has, and seconds since the epoch."""

    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Record:
    """How an answer was made: what it takes to make it again, and what it took.

    The model went on from the first `start` characters of it, which were there before. `done`
    None is an end that has not come: the answer is being written, or its writer was killed.
    """

    engine: EngineInfo
    sampling: Sampling
    system: str | None = None
    start: int = 0
    done: Done | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One turn. `parent` None is a root. An answer that was not made here has no `record`.

    Only who began an answer changes it, until it has come to its end; nothing else ever changes.
    So what two programs add to one session at once is all kept.
    """

    id: str
    parent: str | None
    role: str
    content: str
    created: float
    record: Record | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finish_reason(self) -> FinishReason | None:
        """What ended the answer; None where that is not known, and for what is no answer."""
        if self.record is None:
            return None
        return "interrupted" if self.record.done is None else self.record.done.finish_reason

    @property
    def is_partial(self) -> bool:
        """Whether the answer was cut by its reader or by an error, and can go on."""
        return self.finish_reason in ("interrupted", "error")

    @property
    def is_void(self) -> bool:
        """Whether it is an answer that was cut before its first character."""
        return self.is_partial and not self.content

    @property
    def message(self) -> Message:
        """The turn as a model is given it."""
        return Message(self.role, self.content, self.extra)


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation with all its branches. `nodes` are in the order in which they came.

    `head` is the turn that was last said, None before the first one. `system` is the system prompt
    of what is asked next; each answer's record has the one that it was made with. `undone` are
    the heads that `redo` goes back to, the next one first.
    """

    id: str
    created: float
    name: str | None = None
    system: str | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    head: str | None = None
    undone: tuple[str, ...] = ()

    def path(self, end: str | None = None) -> tuple[Node, ...]:
        """The turns from the root to the node `end`, which is the head if it is not given."""
        return tuple(self._upward(end or self.head))[::-1]

    def conversation(self, end: str | None = None) -> Conversation:
        """The same as messages for a prompt, behind the system prompt."""
        messages = tuple(node.message for node in self.path(end))
        return messages if self.system is None else (Message("system", self.system), *messages)

    @property
    def turn(self) -> Node | None:
        """The turn that an answer now would answer: the last one that is no answer itself."""
        turns = (node for node in self._upward(self.head) if node.role != "assistant")
        return next(turns, None)

    def children(self, parent: str | None) -> tuple[Node, ...]:
        """What follows a turn, one node a branch, the oldest first; the roots for None."""
        return tuple(node for node in self.nodes.values() if node.parent == parent)

    def number(self, node_id: str) -> int:
        """The number by which a person names the node, from 1."""
        return list(self.nodes).index(node_id) + 1

    def numbered(self, number: int) -> Node:
        """The node with that number. Raises UsageError where there is none."""
        if not 1 <= number <= len(self.nodes):
            raise UsageError(f"There is no turn {number}: {_count(len(self.nodes))}.")
        return list(self.nodes.values())[number - 1]

    def ask(self, content: str, stamp: Stamp) -> "Session":
        """The user says something.

        A turn that got no answer stays beside the new one and not before it, as roles alternate.
        """
        before = self._upward(self.head)
        parent = next((n.id for n in before if n.role != "user" and not n.is_void), None)
        return self._with(Node(stamp.id, parent, "user", content, stamp.at))

    def answer(self, record: Record, stamp: Stamp) -> "Session":
        """An answer to `turn` begins: the first one, or one more beside those that are there.

        Raises UsageError where nothing was asked.
        """
        if self.turn is None:
            raise UsageError("There is nothing to answer yet.")
        node = Node(stamp.id, self.turn.id, "assistant", "", stamp.at, record)
        return self._with(node)

    def resume(self, record: Record, stamp: Stamp) -> "Session":
        """The answer at the head goes on from where it ends, in a copy beside it.

        Raises UsageError where the head is no answer.
        """
        node = self.nodes.get(self.head or "")
        if node is None or node.role != "assistant":
            raise UsageError("There is no answer to continue.")
        record = replace(record, start=len(node.content))
        return self._with(replace(node, id=stamp.id, created=stamp.at, record=record))

    def extend(self, node_id: str, text: str, done: Done | None = None) -> "Session":
        """An answer that was begun has more text, and has come to its end if there is a `done`.

        It need not be the head: several answers may be written at once.
        """
        node = self.nodes[node_id]
        assert node.record is not None, "only an answer that was begun here grows"
        record = replace(node.record, done=done)
        grown = replace(node, content=node.content + text, record=record)
        return replace(self, nodes={**self.nodes, node_id: grown})

    def edit(self, node_id: str, content: str, stamp: Stamp) -> "Session":
        """A turn is said in another way: a branch beside it, of which it is the head."""
        node = self.nodes[node_id]
        return self._with(Node(stamp.id, node.parent, node.role, content, stamp.at))

    def add(self, message: Message, stamp: Stamp) -> "Session":
        """A message that was made elsewhere follows, whatever its role is."""
        node = Node(
            stamp.id, self.head, message.role, message.content, stamp.at, None, message.extra
        )
        return self._with(node)

    def undo(self) -> "Session":
        """Back to before the user's last turn. Raises UsageError where there is none."""
        users = (node for node in self._upward(self.head) if node.role == "user")
        last = next(users, None)
        if last is None or self.head is None:
            raise UsageError("There is nothing to undo.")
        return replace(self, head=last.parent, undone=(self.head, *self.undone))

    def redo(self) -> "Session":
        """Take the last undo back. Raises UsageError where there is none since the last turn."""
        if not self.undone:
            raise UsageError("There is nothing to redo.")
        return replace(self, head=self.undone[0], undone=self.undone[1:])

    def switch(self, node_id: str) -> "Session":
        """To the branch that a node is on: its newest end below that node."""
        end = node_id
        while below := self.children(end):
            end = below[-1].id
        return replace(self, head=end, undone=())

    def fork(self, name: str | None, stamp: Stamp) -> "Session":
        """A session of its own that begins as this one stands now, without its other branches."""
        nodes = {node.id: node for node in self.path()}
        return Session(stamp.id, stamp.at, name, self.system, nodes, self.head)

    def _upward(self, node_id: str | None) -> Iterator[Node]:
        while node_id is not None:
            node = self.nodes[node_id]
            yield node
            node_id = node.parent

    def _with(self, node: Node) -> "Session":
        return replace(self, nodes={**self.nodes, node.id: node}, head=node.id, undone=())


def _count(turns: int) -> str:
    return f"they go from 1 to {turns}" if turns else "nothing was said yet"


def new_stamp() -> Stamp:
    """An id that nothing else in the world has, short enough to be typed in part, and now."""
    return Stamp(secrets.token_hex(6), time.time())


def session_of(messages: Conversation, name: str | None = None) -> Session:
    """A session with these turns, in which a system message at the start is the system prompt."""
    system = None
    if messages and messages[0].role == "system" and not messages[0].extra:
        system, messages = messages[0].content, messages[1:]
    at = new_stamp()
    session = Session(at.id, at.at, name, system)
    for message in messages:
        session = session.add(message, new_stamp())
    return session
