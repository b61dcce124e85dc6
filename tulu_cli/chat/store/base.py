"""Where sessions are kept: the verbs that every store has, and the one that forgets.

`open.py` opens the one on disk, which goes on in memory where the disk fails.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from tulu_cli.chat.session import Node, Session
from tulu_cli.errors import UsageError

AROUND = 60  # characters shown on each side of what was found


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn in which every word was found; the snippet is `before`, `match` and `after`."""

    session_id: str
    session_name: str | None
    node_id: str
    role: str
    created: float
    before: str
    match: str
    after: str


def words_of(text: str) -> tuple[str, ...]:
    """The words that have to be there, in the form in which case makes no difference."""
    return tuple(text.lower().split())


def holds(content: str, words: tuple[str, ...]) -> bool:
    """Whether every word is in the content, as a part of its words too."""
    lowered = content.lower()
    return all(word in lowered for word in words)


def snippet(content: str, words: tuple[str, ...]) -> tuple[str, str, str]:
    """The first word that was found, with what stands around it, each on one line."""
    lowered = content.lower()
    start, word = min((lowered.find(word), word) for word in words)
    if len(lowered) != len(content):  # İ becomes two characters
        start = _place(content, start)
    end = start + len(word)
    left, right = max(0, start - AROUND), end + AROUND
    before = ("…" if left else "") + _one_line(content[left:start])
    after = _one_line(content[end:right]) + ("…" if right < len(content) else "")
    return before, _one_line(content[start:end]), after


def hits_in(session: Session, text: str) -> Iterator[Hit]:
    """The hits in a session that is at hand."""
    words = words_of(text)
    for node in session.nodes.values():
        if words and holds(node.content, words):
            parts = snippet(node.content, words)
            yield Hit(session.id, session.name, node.id, node.role, node.created, *parts)


def _place(content: str, start: int) -> int:
    """The place in the content of a place in its lower case."""
    length = 0
    for index, character in enumerate(content):
        if length >= start:
            return index
        length += len(character.lower())
    return len(content)


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\t", " ")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list says of a session. `title` is the beginning of its first turn of a user.

    `turns` counts all nodes, those of other branches too; `updated` is when it was last written.
    """

    id: str
    name: str | None
    title: str
    created: float
    updated: float
    turns: int


class Store(Protocol):
    """Sessions on disk, or in memory with the same verbs.

    `write` is the one way in: it keeps the session's head and these of its nodes as they are now,
    in one transaction, and creates the session with all its nodes where the store has none of
    that id. So a user's turn, an answer begun, the same a second later and a moved head are all
    `write(session, *changed nodes)`. A name is given at creation and by `rename` alone.

    Raises UsageError for what is not there and a name that is taken, HistoryError for a disk that
    fails.
    """

    def write(self, session: Session, *nodes: Node) -> None: ...

    def load(self, session_id: str) -> Session: ...

    def summaries(self) -> list[Summary]:
        """All sessions, the last written first."""
        ...

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        """Turns that hold every word of the text, in any case, the newest first."""
        ...

    def rename(self, session_id: str, name: str | None) -> None: ...

    def delete(self, *session_ids: str) -> None: ...

    def close(self) -> None: ...


class MemoryStore:
    """The store of those who want no history: it is gone when the process ends."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def write(self, session: Session, *_nodes: Node) -> None:
        known = self._sessions.pop(session.id, None)  # what was last written comes last
        if known is not None:
            session = replace(session, name=known.name)
        elif session.name is not None:
            self._check_free(session.name)
        self._sessions[session.id] = session

    def load(self, session_id: str) -> Session:
        if session_id not in self._sessions:
            raise no_session(session_id)
        return self._sessions[session_id]

    def summaries(self) -> list[Summary]:
        return [summary_of(session) for session in reversed(self._sessions.values())]

    def search(self, text: str, limit: int = 50) -> list[Hit]:
        hits = (hit for session in self._sessions.values() for hit in hits_in(session, text))
        return sorted(hits, key=lambda hit: hit.created, reverse=True)[:limit]

    def rename(self, session_id: str, name: str | None) -> None:
        session = self.load(session_id)
        if name is not None and name != session.name:
            self._check_free(name)
        self._sessions[session_id] = replace(session, name=name)

    def delete(self, *session_ids: str) -> None:
        for session_id in session_ids:
            self._sessions.pop(session_id, None)

    def close(self) -> None:
        """Nothing is open."""

    def _check_free(self, name: str) -> None:
        if any(session.name == name for session in self._sessions.values()):
            raise name_taken(name)


def summary_of(session: Session) -> Summary:
    """The summary of a session that is at hand."""
    nodes = session.nodes.values()
    first = next((node.content for node in nodes if node.role == "user"), "")
    updated = max((node.created for node in nodes), default=session.created)
    title = title_of(first)
    return Summary(session.id, session.name, title, session.created, updated, len(nodes))


def title_of(text: str) -> str:
    """The beginning of a text on one line, of at most 200 characters."""
    return " ".join(text[:400].split())[:200]


def checked_name(name: str) -> str:
    """The name, if it can be told from an option and fits on a line. Raises UsageError."""
    if not name or not name.isprintable() or name.startswith("-") or name != name.strip():
        raise UsageError(f"{name!r} cannot be the name of a session: use letters and digits.")
    return name


def find_session(summaries: Iterable[Summary], text: str) -> str:
    """The id that is meant by an id, a name, or the beginning of an id that only one has.

    Raises UsageError where there is none, or more than one.
    """
    known = list(summaries)
    for exact in (
        [one.id for one in known if one.id == text],
        [one.id for one in known if one.name == text],
    ):
        if exact:
            return exact[0]
    begun = [one.id for one in known if text and one.id.startswith(text)]
    if len(begun) > 1:
        some = ", ".join(sorted(begun)[:5]) + (", ..." if len(begun) > 5 else "")
        raise UsageError(f"{text} is the beginning of {len(begun)} sessions: {some}.")
    if not begun:
        raise no_session(text)
    return begun[0]


def no_session(text: str) -> UsageError:
    """The error for a session that is not there."""
    return UsageError(f"There is no session {text!r}: `tulu history list` shows what there is.")


def name_taken(name: str) -> UsageError:
    """The error for a name that another session has."""
    return UsageError(f"Another session is named {name!r}: choose another name.")
