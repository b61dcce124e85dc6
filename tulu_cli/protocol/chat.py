"""OpenAI's chat completions: a request as a body, and a chunk of the answer as values.

https://platform.openai.com/docs/api-reference/chat. What such a server cannot do is here too.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tulu_cli.core import Message, Request, Sampling, TokenLogprob, Usage
from tulu_cli.errors import UsageError
from tulu_cli.protocol.completions import (
    cached_tokens,
    finite,
    penalties_body,
    read_finish,
    reasoning_tokens,
)
from tulu_cli.protocol.errors import Refused

_NO_WORD = "chat completions have no such parameter"
_ITS_PROMPT = "it makes the prompt itself, of messages"
# What cannot be asked of such a server, by the name of the option, and why.
CANNOT: Mapping[str, str] = {
    **dict.fromkeys(("top_k", "min_p", "repetition_penalty", "ignore_eos"), _NO_WORD),
    "max_reasoning_tokens": _NO_WORD,
    **dict.fromkeys(("regex", "choice"), _NO_WORD),
    **dict.fromkeys(("raw", "prefill", "allow_special", "strict_roles"), _ITS_PROMPT),
    "score": "chat completions do not report the logprobs of a given text",
    "overflow": "it does not say how long its context is",
}


def cannot(name: str, url: str | None) -> UsageError:
    """Return the refusal of an option that such a server does not have."""
    return UsageError(
        f"--{name.replace('_', '-')} cannot be asked of the server at {url}: {CANNOT[name]}."
    )


def check(sampling: Sampling, url: str | None) -> None:
    """Raise UsageError for sampling parameters that chat completions do not have."""
    default = Sampling()
    numbers = ("top_k", "min_p", "repetition_penalty", "max_reasoning_tokens")
    for name in (*numbers, "ignore_eos"):
        if getattr(sampling, name) != getattr(default, name):
            raise cannot(name, url)
    if sampling.constraint is not None and sampling.constraint.kind in CANNOT:
        raise cannot(sampling.constraint.kind, url)


def request_body(request: Request, model: str, quirks: frozenset[str]) -> dict[str, Any]:
    """Return a request as the body of POST /v1/chat/completions, as this server spells it.

    Greedy choices are all the same, so one is asked for. What nobody has chosen is left to the
    server, but for the seed, by which an answer can be made again. `quirks` are the parameters that
    the server does not take.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [message_object(message) for message in request.conversation],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.variables:
        body["chat_template_kwargs"] = dict(request.variables)
    chosen = (name for name in ("temperature", "top_p") if name not in request.unchosen)
    body |= {name: getattr(sampling, name) for name in chosen}
    body |= penalties_body(sampling)
    if sampling.max_tokens is not None:
        name = "max_completion_tokens" if "max_tokens" in quirks else "max_tokens"
        body[name] = sampling.max_tokens
    if not sampling.greedy:
        body["seed"] = sampling.seed
        if sampling.n > 1:  # a server that has no word for it is not asked for nothing
            body["n"] = sampling.n
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if sampling.constraint is not None:
        schema = json.loads(sampling.constraint.source)
        named = {"name": "answer", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    for name in quirks & _spare(request):
        body.pop(name, None)
    return body


def _spare(request: Request) -> frozenset[str]:
    """Return what a server need not be told: it is not the user's choice, or is done here too."""
    return request.unchosen | {"stream_options", "stop"}


def message_object(message: Message) -> dict[str, Any]:
    """Return a message as OpenAI has it."""
    return message.as_text().as_dict()


_UNKNOWN = re.compile(
    r"unknown|unrecognized|unsupported|unexpected|extra|not (supported|permitted)", re.I
)


def quirk_in(refused: Refused, request: Request, body: Mapping[str, Any]) -> str | None:
    """Return the parameter that a server refused by name, if the request can do without it.

    A limit of tokens has another name on newer servers. What the user has chosen is never left
    out: the refusal says what is wrong with it.
    """
    if refused.status not in (200, 400, 422):
        return None
    told = refused.told
    if "max_tokens" in body and (
        "max_completion_tokens" in told or (_names("max_tokens", told) and _UNKNOWN.search(told))
    ):
        return "max_tokens"
    return next(
        (name for name in sorted(_spare(request) & body.keys()) if _names(name, told)), None
    )


def _names(name: str, told: str) -> bool:
    return re.search(rf"(?<!\w){name}(?!\w)", told) is not None


@dataclass(frozen=True, slots=True)
class Piece:
    """One choice's part of a chunk; `finish` is the finish reason as `read_finish` has it.

    `beside` names what the chunk holds that is neither of the `thought` nor of the answer, if
    anything.
    """

    index: int
    text: str
    thought: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: str | None = None
    stop: str | None = None
    beside: str = ""


def read_chunk(chunk: Mapping[str, Any], top: int) -> tuple[list[Piece], Usage | None]:
    """Return the pieces of a chunk, or of a whole answer, and the usage if there is one.

    Raise ValueError if it is not a chunk.
    """
    try:
        return [_piece(told, top) for told in chunk.get("choices") or ()], _usage(chunk)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error


def model_names(told: Any) -> tuple[str, ...]:
    """Return the models in an answer to GET /v1/models; none if it is not such an answer."""
    rows = told.get("data") if isinstance(told, dict) else None
    rows = rows if isinstance(rows, list) else []
    names = (row.get("id") for row in rows if isinstance(row, dict))
    return tuple(name for name in names if name and isinstance(name, str))


def _piece(told: Mapping[str, Any], top: int) -> Piece:
    said = told.get("delta") or told.get("message") or {}
    content, thought = _content(said.get("content") or "")
    texts = [content, said.get("refusal") or ""]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("the content is not a text")
    calls = said.get("tool_calls") or said.get("function_call")
    stop = told.get("stop_reason")  # vLLM's; OpenAI does not say which one it was
    return Piece(
        index=int(told.get("index") or 0),
        text="".join(texts),
        thought=thought or _thought(said),
        logprobs=_logprobs(told.get("logprobs"), top),
        finish=read_finish(told.get("finish_reason")),
        stop=stop if isinstance(stop, str) else None,
        beside="calls of tools" if calls else "",
    )


# DeepSeek's and older vLLM's name, that of newer vLLM, OpenRouter and Ollama, and two more.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")


def _thought(said: Mapping[str, Any]) -> str:
    """Return the thought in a message or its piece, from the first field that has one."""
    return next(filter(None, (_joined(said.get(name)) for name in _THOUGHTS)), "")


def _content(told: Any) -> tuple[Any, str]:
    """Return the text of a content, and the thought in there: Mistral's has parts of both."""
    if not isinstance(told, list):
        return told, ""
    texts = "".join(part["text"] for part in told if part["type"] == "text")
    return texts, _joined([part for part in told if part["type"] == "thinking"])


def _joined(told: Any) -> str:
    """Return the text of a thought: a text, or parts with texts in them; "" for anything else."""
    if isinstance(told, list):
        return "".join(map(_joined, told))
    if isinstance(told, Mapping):
        return _joined(told.get("thinking") or told.get("text") or told.get("summary"))
    return told if isinstance(told, str) else ""


def _logprobs(told: Any, top: int) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            str(entry["token"]),
            finite(float(entry["logprob"])),
            tuple(
                (str(other["token"]), finite(float(other["logprob"])))
                for other in (entry.get("top_logprobs") or ())[:top]
            ),
        )
        for entry in (told or {}).get("content") or ()
    )


def _usage(chunk: Mapping[str, Any]) -> Usage | None:
    told = chunk.get("usage")
    if not told or told.get("completion_tokens") is None:
        return None
    prompt, completion = int(told.get("prompt_tokens") or 0), int(told["completion_tokens"])
    return Usage(prompt, completion, cached_tokens(told), reasoning_tokens(told))
