"""Markdown, for people: a heading for each turn, and below it the text as it is.

    ## user

    Why is the sky blue?

    ## assistant

    ...

A line of a text that looks like such a heading gets a backslash before it, which Markdown does
not show and reading takes away; so every text comes back as it was.
"""

import re
from collections.abc import Sequence

from tulu_cli.chat.session import Session, session_of
from tulu_cli.core import Message
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt import decode_utf8

_ROLE = r"[A-Za-z0-9_.-]+"
_HEADING = re.compile(rf"^## ({_ROLE})\n", re.MULTILINE)
_LIKE_HEADING = re.compile(rf"^(\\*## {_ROLE})$", re.MULTILINE)
_ESCAPED = re.compile(rf"^\\(\\*## {_ROLE})$", re.MULTILINE)


def write(sessions: Sequence[Session]) -> str:
    """Return one session's path as Markdown. Raise UsageError if a role cannot be a heading."""
    (session,) = sessions
    return "\n".join(_block(message) for message in session.conversation())


def read(data: bytes, source: str) -> list[Session]:
    """Return the session in a file of this form. Raise BadInput if it has no turn."""
    text = decode_utf8(data, source).removeprefix("\ufeff")
    _, *parts = _HEADING.split(text if text.endswith("\n") else f"{text}\n")
    if not parts:
        raise BadInput(f"{source} has no turn: there is no line `## user` or `## assistant`.")
    bodies = [body.removeprefix("\n").removesuffix("\n") for body in parts[1::2]]
    # All but the last have the line that separates them from the next heading.
    texts = [*(body.removesuffix("\n") for body in bodies[:-1]), bodies[-1]]
    turns = zip(parts[::2], texts, strict=True)
    return [session_of(tuple(Message(role, _ESCAPED.sub(r"\1", text)) for role, text in turns))]


def _block(message: Message) -> str:
    if not re.fullmatch(_ROLE, message.role):
        raise UsageError(f"Markdown cannot hold the role {message.role!r}: use --format jsonl.")
    escaped = _LIKE_HEADING.sub(r"\\\1", message.content)
    return f"## {message.role}\n\n{escaped}\n"
