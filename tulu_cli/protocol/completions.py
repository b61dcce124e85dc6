"""OpenAI's completions, with vLLM's token ids, between our client and a server.

Token ids go over the wire in both directions, so a warm engine is asked, and answers, exactly as
one in this process would be.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from tulu_cli.core import (
    Constraint,
    Done,
    Drafted,
    Request,
    Sampling,
    Text,
    ThoughtFormat,
    TokenLogprob,
    Usage,
)
from tulu_cli.protocol.fields import BadField
from tulu_cli.protocol.sampling import STRUCTURES

# A client that gives this header takes its turns by it; others are each a client of their own.
CLIENT_HEADER = "x-tulu-client"
# What a warm engine of ours answers beside OpenAI's routes: a prompt's token ids, and completions
# whose text and end are found by our own rules, whichever engine samples.
PROMPT_PATH = "/tulu/prompt"
ANSWER_PATH = "/tulu/completions"
# vLLM's stand-in for minus infinity, which JSON has not, and its spelling of a token by its id.
_NEVER = -9999.0
TOKEN = "token_id:"  # noqa: S105 (no password)


def request_body(request: Request, model: str, *, stream: bool = True) -> dict[str, Any]:
    """Return a request as the body of POST /v1/completions.

    The client puts the text together and ends it: stop strings are sent only where the answer comes
    as a whole, for the server not to go on behind them. Greedy choices are all the same, so one is
    asked for.
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
    elif stop := [text for text in sampling.stop if text]:  # an empty one ends nothing
        body["stop"] = stop
    if not sampling.greedy:
        body["seed"] = sampling.seed
    body |= penalties_body(sampling)
    if sampling.logprobs is not None:
        body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    if sampling.constraint is not None:
        body["structured_outputs"] = structure_body(sampling.constraint)
    return body


def penalties_body(sampling: Sampling) -> dict[str, Any]:
    """Return OpenAI's penalties and the logit bias of a request, those that are not off."""
    body: dict[str, Any] = {
        name: value
        for name in ("frequency_penalty", "presence_penalty")
        if (value := getattr(sampling, name))
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): value for token, value in sampling.logit_bias.items()}
    return body


def structure_body(constraint: Constraint) -> dict[str, Any]:
    """Return a constraint as vLLM's structured_outputs."""
    source = constraint.source
    value = json.loads(source) if constraint.kind == "choice" else source
    return {STRUCTURES[constraint.kind]: value}


def read_end_tokens(body: Mapping[str, Any], default: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tokens that end the answer. Raise BadInput if they are not token ids."""
    told = body.get("stop_token_ids")
    if told is None:
        return default
    if not isinstance(told, list) or not all(type(token) is int for token in told):
        raise BadField("stop_token_ids", f"takes a list of token ids, not {told!r}.")
    return tuple(told)


def thoughts_body(thoughts: ThoughtFormat | None) -> dict[str, Any]:
    """Return the fields that tell a warm engine of ours how a thought is told from the answer."""
    return {} if thoughts is None else {"thoughts": asdict(thoughts)}


def read_thoughts(body: Mapping[str, Any]) -> ThoughtFormat | None:
    """Return what `thoughts_body` has put into a body, None for nothing. Raise BadInput."""
    told = body.get("thoughts")
    if told is None:
        return None
    kinds = {"start": str, "end": str, "is_open": bool, "is_closed": bool, "closing": str}
    fits = isinstance(told, dict) and told.keys() == kinds.keys()
    if not fits or not all(isinstance(told[name], kind) for name, kind in kinds.items()):
        raise BadField(
            "thoughts",
            "must be an object of the texts start, end and closing, and of is_open and is_closed.",
        )
    if not told["start"] or not told["end"]:
        raise BadField("thoughts.start", "and thoughts.end must not be empty.")
    return ThoughtFormat(**told)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The object around the choices of an answer, of a completion or of a chat.

    `created` is in seconds of time.time().
    """

    name: str
    model: str
    created: int
    chat: bool

    def whole(self, choices: list[dict[str, Any]], usage: Any) -> dict[str, Any]:
        """Return a finished answer."""
        kind = "chat.completion" if self.chat else "text_completion"
        return self._object(kind, choices=choices, usage=usage)

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return one object of a stream."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return self._object(kind, choices=choices, **more)

    def choice(self, index: int, text: str, reasoning: str | None = None) -> dict[str, Any]:
        """Return a finished choice with its text under the key that this kind of answer has."""
        if not self.chat:
            return {"index": index, "text": text}
        message = {"role": "assistant", "content": text}
        thought = {} if reasoning is None else {"reasoning_content": reasoning}
        return {"index": index, "message": message | thought}

    def piece(self, event: Text, *, first: bool) -> dict[str, Any]:
        """Return a piece of a choice, the `first` one of which says whose it is."""
        if not self.chat:
            return {"index": event.index, "text": event.text}
        key = "content" if event.channel == "answer" else "reasoning_content"
        delta = {"role": "assistant", key: event.text} if first else {key: event.text}
        return {"index": event.index, "delta": delta}

    def _object(self, kind: str, **more: Any) -> dict[str, Any]:
        head = {"id": self.name, "object": kind, "created": self.created, "model": self.model}
        return head | more


def end_fields(end: Done | None) -> dict[str, Any]:
    """Return the fields of a choice that say how it ended, null where it goes on."""
    told = {
        "finish_reason": end.finish_reason if end else None,
        "stop_reason": end.stop if end else None,
    }
    return told | ({"reasoning_truncated": True} if end and end.reasoning_truncated else {})


def ids_fields(event: Text) -> dict[str, Any]:
    """Return the fields that a client of ours gets beside a text: its token ids and channel."""
    told: dict[str, Any] = {} if event.channel == "answer" else {"channel": event.channel}
    return {**told, "token_ids": list(event.token_ids)}


def by_id(token: int | str) -> bytes:
    """Return the spelling of a token by its id, as clients of ours read it."""
    return f"{TOKEN}{token}".encode()


def text_chunk(event: Text, end: Done | None = None) -> dict[str, Any]:
    """Return a piece of a completion, with its token ids, as one of the `choices` of a chunk."""
    logprobs = logprobs_object(event.logprobs) if event.logprobs else None
    choice = {"index": event.index, "text": event.text, "logprobs": logprobs}
    return {**choice, **end_fields(end), **ids_fields(event)}


def logprobs_object(entries: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    """Return log-probabilities in the form of completions, tokens spelled by their ids."""
    return {
        "tokens": [f"{TOKEN}{entry.token_id}" for entry in entries],
        "token_logprobs": [wire_logprob(entry.logprob) for entry in entries],
        "top_logprobs": [
            {f"{TOKEN}{token}": wire_logprob(value) for token, value in entry.top}
            for entry in entries
        ],
    }


def usage_object(usage: Usage, *, with_cached: bool = True) -> dict[str, Any]:
    """Return token counts as OpenAI has them."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if with_cached:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts


class Unreadable(ValueError):
    """A part of a chunk that is not as vLLM's."""


@contextmanager
def reading_chunk() -> Iterator[None]:
    """Raise Unreadable for what reading a chunk trips over; only that is done inside."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def sampled_tokens(choice: Mapping[str, Any], top: int) -> list[tuple[int, TokenLogprob | None]]:
    """Return the tokens of a chunk's choice, each with its logprob or None."""
    ids = [int(token) for token in choice["token_ids"] or ()]
    told = choice.get("logprobs")
    if told is None:
        return [(token, None) for token in ids]
    sampled: list[tuple[int, TokenLogprob | None]] = []
    rows = zip(ids, told["token_logprobs"], told["top_logprobs"], strict=True)
    for token, value, others in rows:
        best = sorted((-logprob, int(name.removeprefix(TOKEN))) for name, logprob in others.items())
        alternatives = tuple((other, finite(-negated)) for negated, other in best[:top])
        sampled.append((token, TokenLogprob(token, finite(value), alternatives)))
    return sampled


def cached_tokens(usage: Mapping[str, Any]) -> int:
    """Return how many prompt tokens were cached; 0 if the server does not report it."""
    return int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def drafted_tokens(chunk: Mapping[str, Any]) -> Drafted | None:
    """Return what was drafted for the one choice of a request, from vLLM's chunk with the usage.

    Return None for what is not told: vLLM does so for one choice, and where it was started with
    --per-request-spec-decode-metrics.
    """
    told = (chunk.get("metrics") or {}).get("speculative_decoding")
    if not told:
        return None
    return Drafted(int(told["num_draft_tokens"]), int(told["num_accepted_draft_tokens"]))


def reasoning_tokens(usage: Mapping[str, Any]) -> int:
    """Return how many tokens were a thought; 0 if the server does not report it."""
    return int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)


# Words that servers have for an end beside OpenAI's stop, length, content_filter, tool_calls and
# function_call, and for none: Gemini, Mistral, Anthropic, vLLM and SGLang, and SDKs that turn null
# into text.
_FINISH = {
    **dict.fromkeys(("", "null", "none", "undefined", "false", "0"), None),
    **dict.fromkeys(("finish_reason_unspecified", "unspecified"), None),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
    "model_context_window_exceeded": "length",
    **dict.fromkeys(("content_filter", "safety", "recitation", "refusal"), "content_filter"),
    **dict.fromkeys(("blocklist", "prohibited_content", "spii"), "content_filter"),
    **dict.fromkeys(("error", "abort"), "error"),
}


def read_finish(told: Any) -> str | None:
    """Return a finish reason as stop, length, content_filter or error; None for none.

    A word that nobody knows is an end, as "eos" is. A prefix such as FinishReason.STOP, a suffix
    such as "content_filter: SAFETY", and the case do not matter; of an object, its type counts.
    """
    told = told.get("type") if isinstance(told, Mapping) else told
    if not isinstance(told, str):
        return "stop" if told else None
    word = told.partition(":")[0].rpartition(".")[2].strip().lower()
    return _FINISH.get(word, "stop")


def finite(logprob: float) -> float:
    """Return a log-probability as it was before `wire_logprob`."""
    return -math.inf if logprob <= _NEVER else logprob


def wire_logprob(logprob: float) -> float:
    """Return a log-probability for JSON, which has no minus infinity."""
    return max(logprob, _NEVER)
