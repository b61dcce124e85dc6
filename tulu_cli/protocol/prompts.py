"""Prompts for a client that has not loaded the tokenizer: how it asks a warm engine for token ids.

A tokenizer takes longer to load than a warm engine takes to its first token (that of Llama 3 is a
file of 17 MB), and the process that holds the engine has it loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.protocol.fields import read_object, read_switch

_SWITCHES = ("continue_final", "allow_special", "strict_roles")


def chat_body(
    conversation: Sequence[Message], variables: Mapping[str, Any], **switches: bool
) -> dict[str, Any]:
    """Return the body that asks for a conversation's ids; the switches are `encode_chat`'s.

    The `variables` are for the chat template.
    """
    told = {"conversation": [asdict(message) for message in conversation], **switches}
    return {**told, "chat_template_kwargs": dict(variables)} if variables else told


def text_body(text: str) -> dict[str, Any]:
    """Return the body that asks for the ids of a plain text, which has no chat template."""
    return {"text": text}


def read_text_body(body: Mapping[str, Any]) -> str | None:
    """Return the plain text that a body asks for, or None if it asks for a conversation.

    Raise BadInput if it is not a text.
    """
    text = body.get("text")
    if text is not None and not isinstance(text, str):
        raise BadInput("text must be a text.")
    return text


def read_chat_body(
    body: Mapping[str, Any],
) -> tuple[list[Message], Mapping[str, Any], dict[str, bool]]:
    """Return a body's conversation, the template's variables, and the switches. Raise BadInput."""
    told = body.get("conversation")
    if not isinstance(told, list):
        raise BadInput("The body needs a text, or a conversation that is a list of messages.")
    conversation = [_message(message, f"conversation[{at}]") for at, message in enumerate(told)]
    switches = {name: read_switch(body, name) for name in _SWITCHES}
    return conversation, read_object(body, "chat_template_kwargs"), switches


_KINDS = {"role": str, "content": str, "extra": dict, "keys": list}
_WANTED = {str: "a text", dict: "an object", list: "a list of texts"}


def _message(told: Any, place: str) -> Message:
    """Return a message as `asdict` has made it. Raise BadInput."""
    if not isinstance(told, dict):
        raise BadInput(f"{place} must be an object.")
    if other := next((name for name in told if name not in _KINDS), None):
        raise BadInput(f"{place}.{other} is unknown: role, content and extra are needed.")
    made = {"extra": {}, "keys": [], **told}
    for name, kind in _KINDS.items():
        if not isinstance(made.get(name), kind) or (
            kind is list and not all(isinstance(key, str) for key in made[name])
        ):
            raise BadInput(f"{place}.{name} must be {_WANTED[kind]}.")
    return Message(**{**made, "keys": tuple(made["keys"])})
