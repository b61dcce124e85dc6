"""Prompts for a client that has not loaded the tokenizer: how it asks, and what it is told.

A tokenizer takes longer to load than a warm engine takes to its first token (that of Llama 3 is a
file of 17 MB), and the process that holds the engine has it loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import Tokenizer, encode_chat
from tulu_cli.server.frames import json_response

if TYPE_CHECKING:
    from starlette.responses import Response

_SWITCHES = ("continue_final", "allow_special", "strict_roles")


def chat_body(conversation: Sequence[Message], **switches: bool) -> dict[str, Any]:
    """A conversation as the body of a question; the switches are those of `encode_chat`."""
    return {"conversation": [asdict(message) for message in conversation], **switches}


def text_body(text: str) -> dict[str, Any]:
    """The same for a plain text, which has no chat template."""
    return {"text": text}


def prompt_ids(body: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token ids of the prompt that a body asks for. Raises what encoding it raises."""
    if isinstance(text := body.get("text"), str):
        return tokenizer.encode_raw(text)
    try:
        conversation = [Message(**message) for message in body["conversation"]]
    except (TypeError, LookupError) as error:
        raise BadInput("There is neither a text nor a conversation.") from error
    switches = {name: bool(body.get(name)) for name in _SWITCHES}
    return encode_chat(tokenizer, conversation, **switches)  # type: ignore[arg-type]


async def prompt_response(body: Mapping[str, Any], tokenizer: Tokenizer) -> "Response":
    """The answer to a question; a long text takes seconds, and keeps nobody else waiting."""
    import asyncio  # the client that asks has no use for it

    ids = await asyncio.to_thread(prompt_ids, body, tokenizer)
    return json_response({"prompt_token_ids": ids})
