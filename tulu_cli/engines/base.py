"""What an engine is: its verbs over plain values, and the part of it that every engine shares."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from tulu_cli.core import (
    Completion,
    Done,
    EngineInfo,
    Request,
    Sampling,
    Score,
    ScoreRequest,
    Text,
)
from tulu_cli.errors import BadInput, EngineDied, PromptTooLong, TuluError
from tulu_cli.machine import read_packages
from tulu_cli.models.adapter import Adapter, read_adapter
from tulu_cli.models.draft import Draft
from tulu_cli.prompt import Tokenizer
from tulu_cli.protocol.fields import BadField
from tulu_cli.text import listed, plural
from tulu_cli.warm.endpoint import ChatServer, Endpoint
from tulu_cli.warm.record import fingerprint


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """All that an engine needs to know to load a model.

    `directory` holds config.json, the tokenizer's files and safetensors. `purpose` decides what
    start-up work is worth its time: compiling pays for a server and not for one answer. Scoring
    takes as long, and logits of many tokens at once. A `deterministic` engine lets no answer depend
    on what was asked before or meanwhile, in any dtype.
    `engine_args` are the engine's own, passed through unchanged. `adapters` are loaded beside the
    model, for the requests that name them. The `draft` proposes tokens to the model, None for no
    draft. `server` says where the model is loaded already, if it is.
    """

    name: str
    directory: Path
    tokenizer: Tokenizer
    max_model_len: int
    revision: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    device: str = "auto"
    trust_remote_code: bool = False
    deterministic: bool = False
    purpose: Literal["one-shot", "server", "scoring"] = "one-shot"
    engine_args: Mapping[str, str] = field(default_factory=dict)
    adapters: tuple[Adapter, ...] = ()
    draft: Draft | None = None
    server: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that a server has for it; that server makes the prompt itself."""

    name: str
    server: ChatServer


class Engine(Protocol):
    """A loaded model. It belongs to the thread that loaded it.

    `stream` yields `Text` pieces and one `Done` for each of the request's `n` choices. Closing
    the generator cancels the request. Errors are `EngineError` or a subclass of it.
    `batch` answers many requests, each when it is finished, with its position in the input; a
    request that fails gives its error and stops no other. `score` does the same for completions
    that are given: nothing is generated.
    """

    info: EngineInfo

    def stream(self, request: Request) -> Iterator[Text | Done]: ...

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]: ...

    def score(
        self, requests: Iterable[ScoreRequest]
    ) -> Iterator[tuple[int, Score | TuluError]]: ...

    def close(self) -> None: ...


def bounded(request: Request, max_model_len: int | None) -> Request:
    """Return the request with its `max_tokens` decided by what the context leaves.

    Raise PromptTooLong if it leaves none. Where the context length is not known, its server
    decides.
    """
    if max_model_len is None:
        return request
    prompt_tokens = len(request.prompt_token_ids)
    limit = fit(prompt_tokens, request.sampling.max_tokens, max_model_len)
    return replace(request, sampling=replace(request.sampling, max_tokens=limit))


def fit(prompt_tokens: int, max_tokens: int | None, max_model_len: int) -> int:
    """Return how many tokens may be generated: at most `max_tokens`, within the context length.

    Raise PromptTooLong if the prompt leaves no space for a single token.
    """
    left = max_model_len - prompt_tokens
    if left < 1:
        raise PromptTooLong(
            f"The prompt has {prompt_tokens:,} tokens and the context length is {max_model_len:,}: "
            f"it is over by {1 - left:,}, as the answer needs one. Shorten it, or raise "
            "--max-model-len where the model allows it."
        )
    return left if max_tokens is None else min(max_tokens, left)


def check_bias(sampling: Sampling, vocabulary: int) -> None:
    """Raise BadField for a logit bias of a token that a model of so many tokens does not have."""
    for token in sampling.logit_bias:
        if not 0 <= token < vocabulary:
            problem = f"names the token {token}, but the ids of this model's tokens end at "
            raise BadField("logit_bias", f"{problem}{vocabulary - 1}.")


def check_fits_context(request: ScoreRequest, max_model_len: int | None) -> None:
    """Raise PromptTooLong for a completion that cannot be scored behind its context.

    One token has to be left over, as vLLM scores in the course of generating one.
    """
    tokens = len(request.token_ids)
    if max_model_len is not None and tokens >= max_model_len:
        raise PromptTooLong(
            f"The prompt with its completion has {tokens:,} tokens and the context length is "
            f"{max_model_len:,}: it is over by {tokens + 1 - max_model_len:,}, as one must be left "
            "over. Shorten it, or raise --max-model-len where the model allows it."
        )


def told_adapters(spec: "EngineSpec") -> list[dict[str, str]]:
    """Return the adapters of a spec as they are written down for another process."""
    return [
        {"name": one.name, "directory": str(one.directory), "files": fingerprint(one.directory)}
        for one in spec.adapters
    ]


def read_adapters(told: Iterable[Mapping[str, str]]) -> tuple[Adapter, ...]:
    """Return the adapters that `told_adapters` has written down. Raise what reading them raises."""
    return tuple(read_adapter(Path(one["directory"]), one["name"]) for one in told)


def told_draft(draft: Draft) -> dict[str, Any]:
    """Return a draft as it is written down for another process."""
    told = {"name": draft.name, "tokens": draft.tokens}
    if draft.directory is None:
        return told
    return told | {"directory": str(draft.directory), "files": fingerprint(draft.directory)}


def read_draft(told: Mapping[str, Any] | None) -> Draft | None:
    """Return the draft that `told_draft` has written down, None for none."""
    if told is None:
        return None
    directory = told.get("directory")
    return Draft(told["name"], None if directory is None else Path(directory), told["tokens"])


def adapter_named(name: str | None, adapters: Sequence[str]) -> str | None:
    """Return the name of an adapter that is loaded, None for none. Raise BadInput for another."""
    if name is None or name in adapters:
        return name
    there = listed(adapters) if adapters else "none"
    raise BadInput(f"There is no adapter {name!r} here: there is {there}.")


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = read_packages()
    return {package: found[package] for package in packages if package in found}


def first_line(error: BaseException) -> str:
    """Return the first line of a foreign error's text that says something, without its full stop.

    The heading of pydantic's errors does not, and what it has in brackets says nothing to a user.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and re.fullmatch(r"\d+ validation errors? for \w+", lines[0]):
        lines = [lines[1].removeprefix("Value error, ").partition(" [type=")[0]]
    return lines[0].rstrip(".") if lines else type(error).__name__


def none_answers(reasons: Sequence[TuluError], noun: str) -> TuluError:
    """Return the error for several engines that each raised one; of one, its own."""
    if len(reasons) == 1:
        return reasons[0]
    said = " ".join(map(str, reasons[:3])) + (" ..." if len(reasons) > 3 else "")
    return EngineDied(f"None of {plural(len(reasons), noun)} answers. {said}")
