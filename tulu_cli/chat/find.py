"""What a search finds in a text, and the piece of the text that it shows."""

from collections.abc import Iterator
from dataclasses import dataclass

from tulu_cli.chat.session import Session

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
