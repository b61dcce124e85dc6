"""The answer as one JSON object on one line."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from tulu_cli.core import (
    Completion,
    Done,
    Drafted,
    EngineInfo,
    FinishReason,
    Sampling,
    Text,
    TokenLogprob,
    Usage,
    json_number,
)
from tulu_cli.render.collector import Collector
from tulu_cli.streams import Streams

TokenText = Callable[[int], str | None]


class JsonRenderer:
    """Write nothing until the end, then everything that is known about the answer."""

    def __init__(
        self,
        streams: Streams,
        collector: Collector,
        info: EngineInfo,
        sampling: Sampling,
        token_text: TokenText,
        extra: Mapping[str, Any],
    ) -> None:
        self._streams = streams
        self._collector = collector
        self._head = {**head(info, sampling), **extra}
        self._token_text = token_text
        self._with_ids = extra.get("prompt_token_ids") is not None

    @property
    def completions(self) -> list[Completion]:
        """Return the choices as far as they have come."""
        return self._collector.completions

    def show(self, event: Text | Done) -> None:
        """Keep the event."""
        self._collector.add(event)

    def finish(self, cut: FinishReason) -> None:
        """Write the object, also for an answer that was cut."""
        self._collector.cut = cut
        choices = self.completions
        head = self._head
        if all(choice.done.seed is None for choice in choices):
            head = {**head, "sampling": {**head["sampling"], "seed": None}}
        document = {
            **head,
            "choices": [
                choice_object(choice, self._token_text, with_ids=self._with_ids)
                for choice in choices
            ],
            "usage": usage_object(choices),
            "timings": timings_object(choices),
        }
        self._streams.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def head(info: EngineInfo, sampling: Sampling) -> dict[str, Any]:
    """Return the model, the engine and the sampling parameters, for JSON."""
    return {
        "model": info.model,
        "revision": info.revision,
        "engine": {
            "name": info.engine,
            "device": info.device,
            "dtype": info.dtype,
            "max_model_len": info.max_model_len or None,
            "versions": dict(info.versions),
        },
        "sampling": asdict(sampling),
    }


def choice_object(
    completion: Completion, token_text: TokenText, *, with_ids: bool = True
) -> dict[str, Any]:
    """Return one choice for JSON, with logprobs only if they were asked for.

    It has `reasoning` only if the model has written a thought, and `reasoning_truncated` only if
    that was closed at its limit.
    """
    done = completion.done
    thought = thought_fields(completion)
    choice: dict[str, Any] = {
        "index": done.index,
        **thought,
        "text": completion.text,
        "token_ids": list(completion.token_ids) if with_ids else None,
        "finish_reason": done.finish_reason,
        "stop": done.stop,
        "seed": done.seed,
    }
    if completion.logprobs:
        choice["logprobs"] = [logprob_object(entry, token_text) for entry in completion.logprobs]
    return choice


def thought_fields(completion: Completion) -> dict[str, Any]:
    """Return the thought of a choice for JSON, and whether it was closed at its limit."""
    thought: dict[str, Any] = {}
    if completion.reasoning is not None:
        thought["reasoning"] = completion.reasoning
    if completion.done.reasoning_truncated:
        thought["reasoning_truncated"] = True
    return thought


def logprob_object(entry: TokenLogprob, token_text: TokenText) -> dict[str, Any]:
    """Return a token for JSON, with its log-probability and its best alternatives."""
    return {
        **token_object(entry.token_id, token_text),
        "logprob": json_number(entry.logprob),
        "top": [
            {**token_object(token, token_text), "logprob": json_number(logprob)}
            for token, logprob in entry.top
        ],
    }


def token_object(token: int | str, token_text: TokenText) -> dict[str, Any]:
    """Return a token for JSON, by its text alone if the server gives no id."""
    if isinstance(token, str):
        return {"token_id": None, "token": token}
    return {"token_id": token, "token": token_text(token)}


def usage_object(choices: list[Completion]) -> dict[str, int] | None:
    """Return the token counts of a request: the prompt once, the completions together.

    Those of thoughts are in there if there are any, and those of a draft if they are known.
    """
    usage = Usage.total(choice.done.usage for choice in choices)
    if usage is None:
        return None
    thought = any(choice.reasoning is not None for choice in choices)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        **({"reasoning_tokens": usage.reasoning_tokens} if thought else {}),
        **drafted_fields(usage.drafted),
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def drafted_fields(drafted: Drafted | None) -> dict[str, int]:
    """Return what was drafted as fields for JSON, none where it is not known."""
    if drafted is None:
        return {}
    return {"drafted_tokens": drafted.tokens, "accepted_tokens": drafted.accepted}


def timings_object(choices: list[Completion]) -> dict[str, float]:
    """Return the seconds of a request: to the first token of any choice, to the end of the last."""
    timings = [choice.done.timings for choice in choices]
    return {
        "queue": timings[0].queue,
        "first_token": min(timing.first_token for timing in timings),
        "total": max(timing.total for timing in timings),
    }
