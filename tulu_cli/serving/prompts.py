"""The route that makes a prompt's token ids for clients that have not loaded the tokenizer."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tulu_cli.prompt import Tokenizer, encode_chat
from tulu_cli.protocol.prompts import read_chat_body, read_text_body
from tulu_cli.serving.frames import json_response

if TYPE_CHECKING:
    from starlette.responses import Response


async def prompt_response(
    body: Mapping[str, Any], tokenizer: Tokenizer, max_model_len: int | None
) -> "Response":
    """Answer with the ids, made in a thread: a long text takes seconds and delays nobody else."""
    ids = await asyncio.to_thread(prompt_ids, body, tokenizer, max_model_len)
    return json_response({"prompt_token_ids": ids})


def prompt_ids(
    body: Mapping[str, Any], tokenizer: Tokenizer, max_model_len: int | None
) -> tuple[int, ...]:
    """Return the token ids of the prompt that a body asks for. Raise what encoding it raises.

    Raise PromptTooLong for one that surely has more than `max_model_len` tokens.
    """
    text = read_text_body(body)
    if text is not None:
        tokenizer.check_length(text, max_model_len)
        return tokenizer.encode_raw(text)
    conversation, switches = read_chat_body(body)
    return encode_chat(tokenizer, conversation, max_model_len, **switches)  # type: ignore[arg-type]
