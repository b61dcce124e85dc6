"""A prompt's token ids, made in the process that has the tokenizer loaded already."""

from collections.abc import Mapping, Sequence
from typing import Any

from tulu_cli.core import Message
from tulu_cli.engines.base import EngineSpec
from tulu_cli.prompt import encode_chat
from tulu_cli.server.dialect import PROMPT_PATH

# More is in no model's context, and would be sent for nothing.
_MOST_CHARACTERS = 2**22


def chat_ids(
    spec: EngineSpec,
    conversation: Sequence[Message],
    *,
    continue_final: bool = False,
    allow_special: bool = False,
    strict_roles: bool = False,
) -> tuple[int, ...]:
    """The ids of a conversation, as `encode_chat` gives them; raises what that raises.

    Raises EngineDied where the warm engine that is asked is gone.
    """
    switches = {
        "continue_final": continue_final,
        "allow_special": allow_special,
        "strict_roles": strict_roles,
    }
    if _asks(spec, sum(len(message.content) for message in conversation)):
        from tulu_cli.server.prompts import chat_body

        return _asked(spec, chat_body(conversation, **switches))
    return encode_chat(spec.tokenizer, conversation, **switches)  # type: ignore[arg-type]


def raw_ids(spec: EngineSpec, text: str) -> tuple[int, ...]:
    """The ids of a plain text, as `Tokenizer.encode_raw` gives them. Raises the same."""
    if _asks(spec, len(text)):
        from tulu_cli.server.prompts import text_body

        return _asked(spec, text_body(text))
    return spec.tokenizer.encode_raw(text)


def _asks(spec: EngineSpec, characters: int) -> bool:
    return spec.server is not None and spec.server.is_ours and characters <= _MOST_CHARACTERS


def _asked(spec: EngineSpec, body: Mapping[str, Any]) -> tuple[int, ...]:
    from tulu_cli.engines.wire import Wire

    assert spec.server is not None, "a prompt is asked of a server"
    return tuple(Wire(spec.server, {}).post(PROMPT_PATH, body)["prompt_token_ids"])
