"""Prompts for a client that has not loaded the tokenizer: how it asks a warm engine for token ids.

A tokenizer takes longer to load than a warm engine takes to its first token (that of Llama 3 is a
file of 17 MB), and the process that holds the engine has it loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput

_SWITCHES = ("continue_final", "allow_special", "strict_roles")


def chat_body(conversation: Sequence[Message], **switches: bool) -> dict[str, Any]:
    """Return the body that asks for a conversation's ids; the switches are `encode_chat`'s."""
    return {"conversation": [asdict(message) for message in conversation], **switches}


def text_body(text: str) -> dict[str, Any]:
    """Return the body that asks for the ids of a plain text, which has no chat template."""
    return {"text": text}


def read_text_body(body: Mapping[str, Any]) -> str | None:
    """Return the plain text that a body asks for, or None if it asks for a conversation."""
    text = body.get("text")
    return text if isinstance(text, str) else None


def read_chat_body(body: Mapping[str, Any]) -> tuple[list[Message], dict[str, bool]]:
    """Return a body's conversation and its switches. Raise BadInput if there is none."""
    try:
        conversation = [Message(**message) for message in body["conversation"]]
    except (TypeError, LookupError) as error:
        raise BadInput("The body needs a text or a conversation.") from error
    return conversation, {name: bool(body.get(name)) for name in _SWITCHES}
