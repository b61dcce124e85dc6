"""Rows of OpenAI's batch format: what a body asks, in our words.

https://platform.openai.com/docs/guides/batch; vLLM's `run-batch` reads the same.
"""

import json
from collections.abc import Mapping
from typing import Any

from tulu_cli.core import Constraint, Conversation
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.formats import read_messages

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
_SAMPLING = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "stop": "stop",
    "n": "n",
    "ignore_eos": "ignore_eos",
}
# Without effect on the answer: whom it is for, and how it is paid and sent.
_WITHOUT_EFFECT = {"model", "user", "metadata", "store", "service_tier", "stream_options"}
_OFF: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "best_of": (1,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}


def is_openai(value: Any) -> bool:
    """Whether a record is a request of a batch file."""
    return isinstance(value, dict) and "body" in value and ("custom_id" in value or "url" in value)


def read_request(value: Mapping[str, Any], source: str) -> tuple[str, dict[str, Any]]:
    """The URL and the body of a request. Raises BadInput."""
    body, url = value["body"], value.get("url", CHAT)
    if not isinstance(body, dict):
        raise BadInput(f"{source}: body must be an object.")
    if url not in (CHAT, PLAIN):
        raise BadInput(f"{source}: url must be {CHAT} or {PLAIN}.")
    return url, body


def read_prompt(url: str, body: Mapping[str, Any], source: str) -> Conversation | str:
    """The messages of a chat, or the plain text of a completion. Raises BadInput."""
    if url == CHAT:
        return read_messages(body.get("messages"), "body.messages", source)
    if not isinstance(body.get("prompt"), str):
        raise BadInput(f"{source}: body.prompt must be a text.")
    return str(body["prompt"])


def read_sampling(body: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The body's sampling parameters by our names. Raises BadInput for what we cannot do."""
    sampling: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in ("messages", "prompt") or name in _WITHOUT_EFFECT:
            continue
        if name in _SAMPLING:
            sampling[_SAMPLING[name]] = value
        elif name == "response_format":
            sampling["constraint"] = _constraint(value, source)
        elif value not in _OFF.get(name, ()):
            raise BadInput(f"{source}: body.{name} is not supported: leave it out.")
    return sampling


def _constraint(value: Any, source: str) -> Constraint | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return Constraint("json_schema", '{"type": "object"}')
    named = value.get("json_schema") if kind == "json_schema" else None
    if isinstance(named, dict) and isinstance(named.get("schema"), dict):
        return Constraint("json_schema", json.dumps(named["schema"]))
    raise BadInput(f"{source}: body.response_format must be text, json_object or json_schema.")
