"""A conversation as a tree of turns. Each operation returns a new value and removes no turn.

The path from a root to `head` is the current conversation; the other branches are kept beside it.
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
    """Identify a new turn: a unique id, and its time in seconds since the epoch."""

    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Record:
    """Record how an answer was made: what it takes to make it again, and its usage and times.

    `adapter` is the one beside the model that answered, None for the model alone. The first `start`
    characters were there before; the model continued from them. `done` is None
    while the answer is being written, and stays so if its writer is killed.
    """

    engine: EngineInfo
    sampling: Sampling
    system: str | None = None
    start: int = 0
    done: Done | None = None
    adapter: str | None = None

    @property
    def model(self) -> str:
        """Return the name of what answered: the model, and its adapter."""
        model = self.engine.model
        return model if self.adapter is None else f"{model} + {self.adapter}"


THOUGHT = "reasoning_content"  # the field of a message that chat templates and servers read


@dataclass(frozen=True, slots=True)
class Node:
    """Hold one turn. A root has no `parent`. An answer that was not made here has no `record`.

    The thought before an answer is a field of its own in `extra`, as in messages.

    Only the program that began an answer changes it, until it ends; nothing else ever changes. So
    everything that two programs add to one session at once is kept.
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
        """Return the answer's finish reason; None if unknown, or if this is not an answer."""
        if self.record is None:
            return None
        return "interrupted" if self.record.done is None else self.record.done.finish_reason

    @property
    def is_partial(self) -> bool:
        """Return True if the answer was interrupted or failed, so that it can be continued."""
        return self.finish_reason in ("interrupted", "error")

    @property
    def thought(self) -> str:
        """Return what the model thought before this answer; "" for nothing."""
        thought = self.extra.get(THOUGHT)
        return thought if isinstance(thought, str) else ""

    @property
    def is_void(self) -> bool:
        """Return True if the answer was cut before its first character, as in a thought."""
        return not self.content and (self.is_partial or self.finish_reason == "length")

    @property
    def message(self) -> Message:
        """Return the turn as a message of a prompt."""
        return Message(self.role, self.content, self.extra)


@dataclass(frozen=True, slots=True)
class Session:
    """Hold a conversation with all its branches. `nodes` are in the order in which they were added.

    `head` is the latest turn, None before the first one. `system` is the system prompt of the next
    request; each answer's record has the one that it was made with. `undone` are the heads that
    `redo` returns to, the next one first.
    """

    id: str
    created: float
    name: str | None = None
    system: str | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    head: str | None = None
    undone: tuple[str, ...] = ()

    def path(self, end: str | None = None) -> tuple[Node, ...]:
        """Return the turns from the root to the node `end`, by default the head."""
        return tuple(self._upward(end or self.head))[::-1]

    def conversation(self, end: str | None = None) -> Conversation:
        """Return the path to `end` as messages, with the system prompt first if there is one."""
        messages = tuple(node.message for node in self.path(end))
        return messages if self.system is None else (Message("system", self.system), *messages)

    @property
    def turn(self) -> Node | None:
        """Return the turn to answer next: the last one that is not an answer itself."""
        turns = (node for node in self._upward(self.head) if node.role != "assistant")
        return next(turns, None)

    def children(self, parent: str | None) -> tuple[Node, ...]:
        """Return the nodes that follow a turn, oldest first; the roots for None."""
        return tuple(node for node in self.nodes.values() if node.parent == parent)

    def number(self, node_id: str) -> int:
        """Return the number by which a user names the node, from 1."""
        return list(self.nodes).index(node_id) + 1

    def numbered(self, number: int) -> Node:
        """Return the node with that number. Raise UsageError if there is none."""
        if not 1 <= number <= len(self.nodes):
            raise UsageError(f"There is no turn {number}: {_count(len(self.nodes))}.")
        return list(self.nodes.values())[number - 1]

    def ask(self, content: str, stamp: Stamp) -> "Session":
        """Add a turn of the user.

        A turn without an answer becomes a branch beside the new one, because roles must alternate.
        """
        before = self._upward(self.head)
        parent = next((n.id for n in before if n.role != "user" and not n.is_void), None)
        return self._with(Node(stamp.id, parent, "user", content, stamp.at))

    def answer(self, record: Record, stamp: Stamp) -> "Session":
        """Begin an answer to `turn`, beside those that it has.

        Raise UsageError if nothing was asked.
        """
        if self.turn is None:
            raise UsageError("There is nothing to answer yet.")
        node = Node(stamp.id, self.turn.id, "assistant", "", stamp.at, record)
        return self._with(node)

    def resume(self, record: Record, stamp: Stamp) -> "Session":
        """Continue the answer at the head in a copy beside it.

        Raise UsageError if the head is not an answer.
        """
        node = self.nodes.get(self.head or "")
        if node is None or node.role != "assistant":
            raise UsageError("There is no answer to continue.")
        record = replace(record, start=len(node.content))
        return self._with(replace(node, id=stamp.id, created=stamp.at, record=record))

    def extend(
        self, node_id: str, text: str, done: Done | None = None, *, thought: str = ""
    ) -> "Session":
        """Add text to an answer that was begun, or to its thought; end it if there is a `done`.

        It need not be the head: several answers may be written at once.
        """
        node = self.nodes[node_id]
        assert node.record is not None, "only an answer that was begun here grows"
        record = replace(node.record, done=done)
        extra = {**node.extra, THOUGHT: node.thought + thought} if thought else node.extra
        grown = replace(node, content=node.content + text, record=record, extra=extra)
        return replace(self, nodes={**self.nodes, node_id: grown})

    def edit(self, node_id: str, content: str, stamp: Stamp) -> "Session":
        """Add another version of a turn, on a branch beside it, as the head."""
        node = self.nodes[node_id]
        return self._with(Node(stamp.id, node.parent, node.role, content, stamp.at))

    def add(self, message: Message, stamp: Stamp) -> "Session":
        """Add a message that was made elsewhere, whatever its role."""
        node = Node(
            stamp.id, self.head, message.role, message.content, stamp.at, None, message.extra
        )
        return self._with(node)

    def undo(self) -> "Session":
        """Go back to before the user's last turn. Raise UsageError if there is none."""
        users = (node for node in self._upward(self.head) if node.role == "user")
        last = next(users, None)
        if last is None or self.head is None:
            raise UsageError("There is nothing to undo.")
        return replace(self, head=last.parent, undone=(self.head, *self.undone))

    def redo(self) -> "Session":
        """Take the last undo back. Raise UsageError if there is none since the last turn."""
        if not self.undone:
            raise UsageError("There is nothing to redo.")
        return replace(self, head=self.undone[0], undone=self.undone[1:])

    def switch(self, node_id: str) -> "Session":
        """Go to the branch that a node is on: to the newest end below that node."""
        end = node_id
        while below := self.children(end):
            end = below[-1].id
        return replace(self, head=end, undone=())

    def fork(self, name: str | None, stamp: Stamp) -> "Session":
        """Return a new session with the current path of this one, without its other branches."""
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
    """Return a unique id, short enough to type the beginning of, and the time now."""
    return Stamp(secrets.token_hex(6), time.time())


def session_of(messages: Conversation, name: str | None = None) -> Session:
    """Return a session of these messages; a system message at the start is its system prompt."""
    system = None
    if messages and messages[0].role == "system" and not messages[0].as_text().extra:
        system, messages = messages[0].content, messages[1:]
    at = new_stamp()
    session = Session(at.id, at.at, name, system)
    for message in messages:
        session = session.add(message, new_stamp())
    return session
