"""The methods that every store of sessions has, and the store in memory.

`open.py` opens the store on disk, or one that goes on in memory when the disk fails.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from tulu_cli.chat.session import Node, Session
from tulu_cli.errors import UsageError

AROUND = 60  # characters shown on each side of what was found


@dataclass(frozen=True, slots=True)
class Hit:
    """Hold a turn in which every word was found; `before`, `match` and `after` are the snippet.

    `is_thought` says that they are in the thought before the answer, and not all in the answer.
    """

    session_id: str
    session_name: str | None
    node_id: str
    role: str
    created: float
    before: str
    match: str
    after: str
    is_thought: bool = False


def words_of(text: str) -> tuple[str, ...]:
    """Return the words to look for, in lower case."""
    return tuple(text.lower().split())


def holds(content: str, words: tuple[str, ...]) -> bool:
    """Return True if every word is in the content, also as a part of a longer word."""
    lowered = content.lower()
    return all(word in lowered for word in words)


def snippet(content: str, words: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the first word that was found, with the text before and after it, each on one line."""
    lowered = content.lower()
    start, word = min((lowered.find(word), word) for word in words)
    if len(lowered) != len(content):  # İ becomes two characters
        start = _place(content, start)
    end = start + len(word)
    left, right = max(0, start - AROUND), end + AROUND
    before = ("…" if left else "") + _one_line(content[left:start])
    after = _one_line(content[end:right]) + ("…" if right < len(content) else "")
    return before, _one_line(content[start:end]), after


def hits_in(session: Session, text: str, *, thoughts: bool = False) -> Iterator[Hit]:
    """Yield the hits in a session that is in memory, in its `thoughts` too if asked to."""
    words = words_of(text)
    for node in session.nodes.values():
        said = (node.content, node.thought) if thoughts else (node.content,)
        found = next((one for one in said if words and holds(one, words)), None)
        if found is not None:
            head = (session.id, session.name, node.id, node.role, node.created)
            yield Hit(*head, *snippet(found, words), is_thought=found is not node.content)


def _place(content: str, start: int) -> int:
    """Return the place in the content of a place in its lower case."""
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
    """Describe a session in a list. `title` is the beginning of its first turn of a user.

    `turns` counts all nodes, those of other branches too; `created` and `updated`, when it was last
    written, are in seconds since the epoch.
    """

    id: str
    name: str | None
    title: str
    created: float
    updated: float
    turns: int


class Store(Protocol):
    """Keep sessions, on disk or in memory.

    `write` stores the session's head and the given nodes in one transaction, and all its nodes if
    the session is new. A user's turn, a growing answer and a moved head are all written as
    `write(session, *changed nodes)`. Only creation and `rename` give a name.

    Raise UsageError for a session that does not exist or a name that is taken, and HistoryError if
    the disk fails.
    """

    def write(self, session: Session, *nodes: Node) -> None: ...

    def load(self, session_id: str) -> Session: ...

    def summaries(self) -> list[Summary]:
        """Return all sessions, the last written first."""
        ...

    def search(self, text: str, limit: int = 50, *, thoughts: bool = False) -> list[Hit]:
        """Return the turns that hold every word of the text, in any case, the newest first.

        With `thoughts`, an answer is also found by the thought before it.
        """
        ...

    def rename(self, session_id: str, name: str | None) -> None: ...

    def delete(self, *session_ids: str) -> None: ...

    def close(self) -> None:
        """Let go of the file. Raise HistoryError if something could not be written to it."""
        ...


class MemoryStore:
    """Keep sessions in memory, until the process ends."""

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

    def search(self, text: str, limit: int = 50, *, thoughts: bool = False) -> list[Hit]:
        sessions = self._sessions.values()
        hits = (hit for one in sessions for hit in hits_in(one, text, thoughts=thoughts))
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
        """Do nothing: nothing is open."""

    def _check_free(self, name: str) -> None:
        if any(session.name == name for session in self._sessions.values()):
            raise name_taken(name)


def summary_of(session: Session) -> Summary:
    """Return the summary of a session that is in memory."""
    nodes = session.nodes.values()
    first = next((node.content for node in nodes if node.role == "user"), "")
    updated = max((node.created for node in nodes), default=session.created)
    title = title_of(first)
    return Summary(session.id, session.name, title, session.created, updated, len(nodes))


def title_of(text: str) -> str:
    """Return the beginning of a text on one line, of at most 200 characters."""
    return " ".join(text[:400].split())[:200]


def checked_name(name: str) -> str:
    """Return the name. Raise UsageError if it looks like an option or does not fit on a line."""
    if not name or not name.isprintable() or name.startswith("-") or name != name.strip():
        raise UsageError(f"{name!r} cannot be the name of a session: use letters and digits.")
    return name


def find_session(summaries: Iterable[Summary], text: str) -> str:
    """Return the id of the session with this id or name, or whose id alone begins so.

    Raise UsageError if there is none, or more than one.
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
    """Return the error for a session that does not exist."""
    return UsageError(f"There is no session {text!r}: `tulu history list` lists the sessions.")


def name_taken(name: str) -> UsageError:
    """Return the error for a name that another session has."""
    return UsageError(f"Another session is named {name!r}: choose another name.")
