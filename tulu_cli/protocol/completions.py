"""What client and server say to one another: OpenAI's completions with vLLM's token ids.

Token ids go over the wire in both directions, so a warm engine is asked, and answers, exactly what
one in this process would.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tulu_cli.core import Constraint, Done, Request, Sampling, Text, TokenLogprob
from tulu_cli.errors import BadInput
from tulu_cli.settings import KEYS, Key

# A client that gives this header takes its turns by it; others are each a client of their own.
CLIENT_HEADER = "x-tulu-client"
# What a warm engine of ours answers beside OpenAI's routes: a prompt's token ids, and completions
# whose text and end are found by our own rules, whichever engine samples.
PROMPT_PATH = "/tulu/prompt"
ANSWER_PATH = "/tulu/completions"
# vLLM's stand-in for minus infinity, which JSON has not, and its spelling of a token by its id.
NEVER = -9999.0
_TOKEN = "token_id:"  # noqa: S105 (no password)
_NUMBERS = {
    key.name: key
    for key in (
        *(key for key in KEYS if key.table == "sampling"),
        Key("n", "", int, "from 1 to 1,024", lambda value: 1 <= value <= 1024),
        Key("logprobs", "", int, "from 0 to 20", lambda value: 0 <= value <= 20),
    )
}
_STRUCTURES = {"json_schema": "json", "regex": "regex", "choice": "choice"}


def request_body(request: Request, model: str, *, stream: bool = True) -> dict[str, Any]:
    """A request as the body of POST /v1/completions.

    Stop strings are not sent: the answer is put together, and ended, where it is read. Greedy
    choices are all the same, so one is asked for.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(request.prompt_token_ids),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "n": 1 if sampling.greedy else sampling.n,
        "ignore_eos": sampling.ignore_eos,
        "stop_token_ids": [] if sampling.ignore_eos else list(request.stop_token_ids),
        "return_token_ids": True,
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    if not sampling.greedy:
        body["seed"] = sampling.seed
    if sampling.logprobs is not None:
        body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    if sampling.constraint is not None:
        body["structured_outputs"] = structure_body(sampling.constraint)
    return body


def structure_body(constraint: Constraint) -> dict[str, Any]:
    """A constraint as vLLM's structured_outputs."""
    source = constraint.source
    value = json.loads(source) if constraint.kind == "choice" else source
    return {_STRUCTURES[constraint.kind]: value}


def read_sampling(body: Mapping[str, Any]) -> Sampling:
    """The sampling of a body; what it leaves out is as OpenAI and vLLM have it.

    Raises BadInput for a value of the wrong kind and for what no engine of ours can do.
    """
    for name in ("echo", "suffix", "best_of", "logit_bias", "frequency_penalty", "tools",
                 "presence_penalty", "min_tokens", "prompt_logprobs"):  # fmt: skip
        if body.get(name):
            raise BadInput(f"{name} is not supported here.")
    stop = body.get("stop") or []
    given = {name: _number(body, name) for name in _NUMBERS if body.get(name) is not None}
    try:
        return Sampling(
            **given,
            stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
            ignore_eos=bool(body.get("ignore_eos")),
            constraint=_read_structure(body),
        )
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise BadInput(f"The request cannot be read: {error}.") from error


def read_end_tokens(body: Mapping[str, Any], default: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens that end the answer. Raises BadInput for what are none."""
    told = body.get("stop_token_ids")
    if told is None:
        return default
    if not isinstance(told, list) or not all(type(token) is int for token in told):
        raise BadInput(f"stop_token_ids takes a list of token ids, not {told!r}.")
    return tuple(told)


def text_chunk(event: Text, *, with_ids: bool, finish: Done | None = None) -> dict[str, Any]:
    """A piece of an answer as one of the `choices` of a chunk."""
    choice: dict[str, Any] = {
        "index": event.index,
        "text": event.text,
        "logprobs": logprobs_object(event.logprobs) if event.logprobs else None,
        "finish_reason": finish.finish_reason if finish else None,
        "stop_reason": finish.stop if finish else None,
    }
    if with_ids:
        choice["token_ids"] = list(event.token_ids)
    return choice


def logprobs_object(entries: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    """Log-probabilities in the form of completions, tokens spelled by their ids."""
    return {
        "tokens": [f"{_TOKEN}{entry.token_id}" for entry in entries],
        "token_logprobs": [max(entry.logprob, NEVER) for entry in entries],
        "top_logprobs": [
            {f"{_TOKEN}{token}": max(value, NEVER) for token, value in entry.top}
            for entry in entries
        ],
    }


def usage_object(done: list[Done]) -> dict[str, Any]:
    """Token counts of a request, as OpenAI has them."""
    usage = done[0].usage
    completion = sum(one.usage.completion_tokens for one in done)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": usage.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def sampled_tokens(
    choice: Mapping[str, Any], top: int
) -> Iterator[tuple[int, TokenLogprob | None]]:
    """The tokens of a chunk's choice, each with its log-probability where there are some."""
    ids = choice["token_ids"] or []
    told = choice.get("logprobs")
    if told is None:
        yield from ((token, None) for token in ids)
        return
    rows = zip(ids, told["token_logprobs"], told["top_logprobs"], strict=True)
    for token, value, others in rows:
        best = sorted(
            (-logprob, int(name.removeprefix(_TOKEN))) for name, logprob in others.items()
        )
        alternatives = tuple((other, finite(-negated)) for negated, other in best[:top])
        yield token, TokenLogprob(token, finite(value), alternatives)


def cached_tokens(usage: Mapping[str, Any]) -> int:
    """How many tokens of the prompt were not computed again; 0 where the server does not say."""
    return int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def finite(logprob: float) -> float:
    """A logprob off the wire, minus infinity being what it was."""
    return -math.inf if logprob <= NEVER else logprob


def _number(body: Mapping[str, Any], name: str) -> Any:
    key, value = _NUMBERS[name], body[name]
    if key.kind is float and type(value) is int:
        value = float(value)
    if name == "top_k" and value == -1:  # vLLM's other word for off
        value = 0
    if problem := key.problem(value):
        raise BadInput(f"{name} {problem}")
    return value


def _read_structure(body: Mapping[str, Any]) -> Constraint | None:
    asked = body.get("structured_outputs") or {}
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        asked = {"json": form["json_schema"]["schema"]}
    elif form.get("type") == "json_object":
        asked = {"json": '{"type": "object"}'}
    for kind, name in _STRUCTURES.items():
        if (source := asked.get(name)) is not None:
            return Constraint(
                kind,  # type: ignore[arg-type]
                source if isinstance(source, str) else json.dumps(source, ensure_ascii=False),
            )
    return None
