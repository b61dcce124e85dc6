"""Sessions to test with, and stamps that count."""

from itertools import count

from tulu_cli.chat.session import Record, Session, Stamp
from tulu_cli.core import (
    Constraint,
    Done,
    Drafted,
    EngineInfo,
    FinishReason,
    Sampling,
    Timings,
    Usage,
)

INFO = EngineInfo("fake", "demo", "abc123", "cpu", "float32", 8192, {"tulu": "0.1"})
SAMPLING = Sampling(
    max_tokens=64,
    temperature=0.7,
    seed=7,
    stop=("END",),
    logprobs=3,
    constraint=Constraint("regex", "a+"),
)
RECORD = Record(INFO, SAMPLING, "Be brief.")
_NUMBERS = count(1)


def stamp() -> Stamp:
    """An id and a time that no other stamp has."""
    number = next(_NUMBERS)
    return Stamp(f"{number:06x}", 1_000_000.0 + number)


def done(reason: FinishReason = "stop") -> Done:
    """An end with that reason."""
    return Done(reason, Usage(11, 5, 3, 0, Drafted(4, 3)), Timings(0.0, 0.25, 1.5), 7, "END", 0)


def empty(name: str | None = None, system: str | None = None) -> Session:
    """A session in which nothing was said."""
    at = stamp()
    return Session(at.id, at.at, name, system)


def answered(session: Session, text: str, reason: FinishReason = "stop") -> Session:
    """The session with one more answer to its last turn."""
    begun = session.answer(RECORD, stamp())
    assert begun.head is not None
    return begun.extend(begun.head, text, done(reason))


def chat(*texts: str, name: str | None = None, system: str | None = None) -> Session:
    """A conversation of these texts, the user's and the answers in turns."""
    session = empty(name, system)
    for question, answer in zip(texts[::2], (*texts[1::2], None), strict=False):
        session = session.ask(question, stamp())
        session = session if answer is None else answered(session, answer)
    return session


def said(session: Session) -> list[str]:
    """The texts on the path to the head."""
    return [node.content for node in session.path()]
