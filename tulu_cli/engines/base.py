"""What an engine is: one verb over plain values, and the part of it that every engine shares."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Literal, Protocol

from tulu_cli.core import Completion, Done, EngineInfo, Request, Text
from tulu_cli.errors import TuluError
from tulu_cli.prompt import Tokenizer, fit
from tulu_cli.server.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """All that an engine needs to know to load a model.

    `directory` holds config.json, the tokenizer's files and safetensors. `purpose` decides what
    start-up work is worth its time: compiling pays for a server and not for one answer.
    `engine_args` are the engine's own, passed through unchanged. `server` says where the model is
    loaded already, if it is.
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
    purpose: Literal["one-shot", "server"] = "one-shot"
    engine_args: Mapping[str, str] = field(default_factory=dict)
    server: Endpoint | None = None


class Engine(Protocol):
    """A loaded model. It belongs to the thread that loaded it.

    `stream` yields `Text` pieces and one `Done` for each of the request's `n` choices. Closing
    the generator cancels the request. Errors are `EngineError` or a subclass of it.
    `batch` answers many requests, each when it is finished, with its position in the input; a
    request that fails gives its error and stops no other.
    """

    info: EngineInfo

    def stream(self, request: Request) -> Iterator[Text | Done]: ...

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]: ...

    def close(self) -> None: ...


def bounded(request: Request, max_model_len: int) -> Request:
    """The request with `max_tokens` decided by the room that is left; raises PromptTooLong."""
    prompt_tokens = len(request.prompt_token_ids)
    limit = fit(prompt_tokens, request.sampling.max_tokens, max_model_len)
    return replace(request, sampling=replace(request.sampling, max_tokens=limit))


def versions(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def first_line(error: BaseException) -> str:
    """The first line of a foreign error's text that says something, without its full stop."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).rstrip(".")
