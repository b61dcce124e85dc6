"""Read sampling parameters from the body of a request, in OpenAI's words and in vLLM's.

https://platform.openai.com/docs/api-reference/completions and /chat;
https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html. `completions.request_body` and
`chat.request_body` write them.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tulu_cli.core import Constraint, Sampling
from tulu_cli.protocol.fields import BadField, is_off, read_object, read_switch
from tulu_cli.settings import KEYS, Key

# The numbers that a body can set, by the names of Sampling's fields, with what each takes.
_NUMBERS = {
    key.name: key
    for key in (
        *(key for key in KEYS if key.table == "sampling"),
        Key("n", "", int, "from 1 to 1,024", lambda value: 1 <= value <= 1024),
        Key("logprobs", "", int, "from 0 to 20", lambda value: 0 <= value <= 20),
    )
}
# What no engine of ours can do, with the values that ask for nothing.
_OFF: Mapping[str, tuple[Any, ...]] = {
    "min_tokens": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "prompt_logprobs": (),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    # vLLM's.
    "bad_words": ([],),
    "allowed_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), ()),
}
# Without effect on the answer: whom it is for, how it is paid and kept, and in which form calls of
# tools come, which are text here.
HARMLESS = frozenset(
    (
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
    )
)
# vLLM's names for the kinds of a constraint, in `structured_outputs`.
STRUCTURES = {"json_schema": "json", "regex": "regex", "choice": "choice"}
NAMES = {
    *_NUMBERS,
    *_OFF,
    "max_completion_tokens",
    "stop",
    "ignore_eos",
    "logit_bias",
    "response_format",
    "structured_outputs",
}


def given_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a body sets, unchecked, by the names of Sampling's fields.

    Raise BadField for a parameter that would change the answer and that no engine of ours has.
    """
    for name, off in _OFF.items():
        if not is_off(body.get(name), off):
            raise BadField(name, "is not supported: leave it out.")
    names = (*_NUMBERS, "stop", "ignore_eos", "logit_bias")
    fields = {name: body[name] for name in names if body.get(name) is not None}
    if body.get("max_completion_tokens") is not None:
        fields["max_tokens"] = body["max_completion_tokens"]
    if (constraint := read_constraint(body)) is not None:
        fields["constraint"] = constraint
    return fields


def read_sampling(body: Mapping[str, Any]) -> Sampling:
    """Return the sampling of a body; what it leaves out is as OpenAI and vLLM have it.

    But without max_tokens an answer may be as long as the context, for completions too.

    Raise BadField for a value of the wrong kind, and as `given_fields` does.
    """
    fields = given_fields(body)
    for name in _NUMBERS.keys() & fields.keys():
        newer = name == "max_tokens" and body.get("max_completion_tokens") is not None
        fields[name] = _number(name, fields[name], "max_completion_tokens" if newer else name)
    if "stop" in fields:
        fields["stop"] = _texts("stop", fields["stop"])
    if "logit_bias" in fields:
        fields["logit_bias"] = read_logit_bias(fields["logit_bias"])
    fields["ignore_eos"] = read_switch(body, "ignore_eos")
    return Sampling(**fields)


def read_chat_logprobs(body: Mapping[str, Any]) -> int | None:
    """Return how many alternatives a chat wants of each token, None for no logprobs at all.

    Raise BadField.
    """
    wanted, top = read_switch(body, "logprobs"), body.get("top_logprobs")
    number = 0 if top is None else _number("logprobs", top, "top_logprobs")
    if number and not wanted:
        raise BadField("top_logprobs", "goes with logprobs: true.")
    return int(number) if wanted else None


def read_logit_bias(value: Any) -> dict[int, float]:
    """Return what is added to the logits of tokens, by their ids. Raise BadField.

    In JSON the ids are texts.
    """
    takes = "takes an object of token ids, each with a number from -100 to 100"
    if not isinstance(value, dict):
        raise BadField("logit_bias", f"{takes}, not {value!r}.")
    for token, bias in value.items():
        is_id = token.isascii() and token.isdigit() and len(token) < 10
        if not is_id or type(bias) not in (int, float) or not -100 <= bias <= 100:
            raise BadField("logit_bias", f"{takes}, not {token!r}: {bias!r}.")
    return {int(token): float(bias) for token, bias in value.items()}


def read_constraint(body: Mapping[str, Any]) -> Constraint | None:
    """Return the structure that a body asks for. Raise BadField if it cannot be understood."""
    form = body.get("response_format")
    if form is not None:
        return _read_form(form)
    asked = read_object(body, "structured_outputs")
    for kind, name in STRUCTURES.items():
        if (source := asked.get(name)) is not None:
            if not _STRUCTURE_FITS[name](source):
                raise BadField(f"structured_outputs.{name}", f"takes {_STRUCTURE_TAKES[name]}.")
            text = source if isinstance(source, str) else json.dumps(source, ensure_ascii=False)
            return Constraint(kind, text)  # type: ignore[arg-type]
    return None


def _read_form(form: Any) -> Constraint | None:
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return Constraint("json_schema", '{"type": "object"}')
    named = form.get("json_schema") if kind == "json_schema" else None
    if isinstance(named, dict) and isinstance(named.get("schema"), dict):
        return Constraint("json_schema", json.dumps(named["schema"], ensure_ascii=False))
    raise BadField("response_format", "must be text, json_object or json_schema with a schema.")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_STRUCTURE_FITS: Mapping[str, Callable[[Any], bool]] = {
    "json": lambda value: isinstance(value, (str, dict)),
    "regex": lambda value: isinstance(value, str),
    "choice": lambda value: bool(value) and _is_texts(value),
}
_STRUCTURE_TAKES = {
    "json": "a schema, as an object or as its text",
    "regex": "a text",
    "choice": "a list of texts",
}


def _number(name: str, value: Any, said: str) -> Any:
    key = _NUMBERS[name]
    if key.kind is float and type(value) is int:
        value = float(value)
    if name == "top_k" and value == -1:  # vLLM's other word for off
        value = 0
    if problem := key.problem(value):
        raise BadField(said, problem)
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not _is_texts(texts):
        raise BadField(name, f"takes a text or a list of texts, not {value!r}.")
    return tuple(texts)
