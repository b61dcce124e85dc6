"""Messages that were made elsewhere, as sessions of ours."""

from tulu_cli.chat.session import Session
from tulu_cli.chat.stamps import new_stamp
from tulu_cli.core import Conversation


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
