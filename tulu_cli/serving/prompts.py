"""The route that makes a prompt for clients that have not loaded the tokenizer."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tulu_cli.core import ThoughtFormat, TokenIds
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.thinking import thinking_prompt
from tulu_cli.protocol.completions import thoughts_body
from tulu_cli.protocol.prompts import read_chat_body, read_text_body
from tulu_cli.serving.frames import json_response

if TYPE_CHECKING:
    from starlette.responses import Response


async def prompt_response(
    body: Mapping[str, Any], tokenizer: Tokenizer, max_model_len: int | None
) -> "Response":
    """Answer with the ids, made in a thread: a long text takes seconds and delays nobody else."""
    ids, thoughts = await asyncio.to_thread(made_prompt, body, tokenizer, max_model_len)
    return json_response({"prompt_token_ids": ids, **thoughts_body(thoughts)})


def made_prompt(
    body: Mapping[str, Any], tokenizer: Tokenizer, max_model_len: int | None
) -> tuple[TokenIds, ThoughtFormat | None]:
    """Return the prompt that a body asks for, and how a thought is told from its answer.

    Raise what encoding it raises, and PromptTooLong for one that surely has more than
    `max_model_len` tokens.
    """
    text = read_text_body(body)
    if text is not None:
        tokenizer.check_length(text, max_model_len)
        return tokenizer.encode_raw(text), None
    conversation, variables, switches = read_chat_body(body)
    prompt = tokenizer, conversation, max_model_len, variables
    return thinking_prompt(*prompt, **switches)  # type: ignore[arg-type]
