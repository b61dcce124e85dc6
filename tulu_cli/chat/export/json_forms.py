"""The formats that are JSON: what other programs read, and one that holds all that we know."""

import json
from collections.abc import Sequence
from typing import Any

from tulu_cli.chat.session import Session
from tulu_cli.chat.store.json import session_to_value
from tulu_cli.core import Message

# What ShareGPT calls the roles.
SHAREGPT = {"user": "human", "assistant": "gpt"}


def write_jsonl(sessions: Sequence[Session]) -> str:
    """One line each, with the columns of allenai/tulu-3-sft-mixture: id, messages, source."""
    rows = ({"id": s.id, "messages": _messages(s), "source": "tulu"} for s in sessions)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_openai(sessions: Sequence[Session]) -> str:
    """The messages of one session, as the body of a request to a chat API has them."""
    (session,) = sessions
    return _pretty({"messages": _messages(session)})


def write_sharegpt(sessions: Sequence[Session]) -> str:
    """An array of conversations, each with turns that are `from` somebody and have a `value`."""
    return _pretty([{"id": s.id, "conversations": _turns(s)} for s in sessions])


def write_tulu(sessions: Sequence[Session]) -> str:
    """Everything: all branches, and how each answer was made."""
    return _pretty([session_to_value(session) for session in sessions])


def message_to_value(message: Message) -> dict[str, Any]:
    """A message as an object, its other keys behind role and content."""
    return {"role": message.role, "content": message.content, **message.extra}


def _messages(session: Session) -> list[dict[str, Any]]:
    return [message_to_value(message) for message in session.conversation()]


def _turns(session: Session) -> list[dict[str, str]]:
    return [
        {"from": SHAREGPT.get(message.role, message.role), "value": message.content}
        for message in session.conversation()
    ]


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
