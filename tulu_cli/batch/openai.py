"""Rows of OpenAI's batch format: what a body asks, in our words.

https://platform.openai.com/docs/guides/batch; vLLM's `run-batch` reads the same.
"""

from collections.abc import Mapping
from typing import Any

from tulu_cli.core import Conversation
from tulu_cli.errors import BadInput
from tulu_cli.prompt.chat import OURS
from tulu_cli.prompt.inspect.formats import read_messages
from tulu_cli.protocol.sampling import HARMLESS, NAMES, given_fields

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
KWARGS = "chat_template_kwargs"
_READ = {"messages", "prompt", KWARGS}
_WITHOUT_EFFECT = {"model", "stream_options", *HARMLESS}
# A line is written once its answer is whole; --logprobs says what it holds of the tokens.
_OFF: Mapping[str, tuple[Any, ...]] = {
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
}


def is_openai(value: Any) -> bool:
    """Return True for a request of an OpenAI batch file."""
    return isinstance(value, dict) and "body" in value and ("custom_id" in value or "url" in value)


def read_request(value: Mapping[str, Any], source: str) -> tuple[str, dict[str, Any]]:
    """Return the URL and the body of a request. Raise BadInput."""
    body, url = value["body"], value.get("url", CHAT)
    if not isinstance(body, dict):
        raise BadInput(f"{source}: body must be an object.")
    if url not in (CHAT, PLAIN):
        raise BadInput(f"{source}: url must be {CHAT} or {PLAIN}.")
    return url, body


def read_prompt(url: str, body: Mapping[str, Any], source: str) -> Conversation | str:
    """Return the messages of a chat, or the plain text of a completion. Raise BadInput."""
    if url == CHAT:
        return read_messages(body.get("messages"), "body.messages", source)
    if not isinstance(body.get("prompt"), str):
        raise BadInput(f"{source}: body.prompt must be a text.")
    return str(body["prompt"])


def read_kwargs(
    value: Mapping[str, Any], prompt: Conversation | str, source: str, place: str = ""
) -> dict[str, Any]:
    """Return the variables that a value gives the chat template, as to vLLM. Raise BadInput.

    The error names them with the `place` of the value before it, such as "body.".
    """
    kwargs, name = value.get(KWARGS), f"{place}{KWARGS}"
    if kwargs is None:
        return {}
    if not isinstance(kwargs, dict):
        raise BadInput(f"{source}: {name} must be an object.")
    if not OURS.isdisjoint(kwargs):
        raise BadInput(f"{source}: {name} cannot set {min(OURS & kwargs.keys())}.")
    if kwargs and isinstance(prompt, str):
        raise BadInput(f"{source}: a plain text has no chat template for {KWARGS}.")
    return kwargs


def read_sampling(body: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the body's sampling parameters by our names. Raise BadInput for what we cannot do."""
    asked = {}
    for name, value in body.items():
        if value is None or name in _READ or name in _WITHOUT_EFFECT:
            continue
        if name in _OFF and value in _OFF[name]:
            continue
        if name in _OFF or name not in NAMES:
            raise BadInput(f"{source}: body.{name} is not supported: leave it out.")
        asked[name] = value
    try:
        return given_fields(asked)
    except BadInput as error:
        raise BadInput(f"{source}: body.{error}") from error
