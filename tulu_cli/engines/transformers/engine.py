"""The transformers engine: any architecture that AutoModelForCausalLM knows, on GPUs or the CPU."""

import importlib.util
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Completion, Done, EngineInfo, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import EngineSpec, bounded, check_fits_context, first_line, versions
from tulu_cli.errors import DoesNotFit, EngineError, NoEngine, TuluError, UsageError

if TYPE_CHECKING:
    from tulu_cli.engines.transformers.batch import ContinuousBatch
    from tulu_cli.engines.transformers.decode import BatchRow

QUANTIZATIONS = ("bitsandbytes", "bitsandbytes-int8")
# Prompt tokens a forward pass. A Ctrl-C lands inside a pass, between two operations; a server can
# only cancel between two passes. On two cores 512 costs a long prompt a fifth, 2,048 nothing.
_CHUNK = {"one-shot": 2048, "server": 512, "scoring": 2048}
_BATCH_ROWS = 32


def load_model(spec: EngineSpec) -> Any:
    """Load the weights with AutoModelForCausalLM. Raise DoesNotFit, UsageError or EngineError."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    _refuse_foreign_options(spec)
    arguments = _arguments(spec, torch)
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(spec.directory, **arguments)
    except torch.OutOfMemoryError as error:
        raise DoesNotFit(f"{spec.name} does not fit in GPU memory: {first_line(error)}.") from error
    except Exception as error:
        raise EngineError(f"transformers cannot load {spec.name}: {first_line(error)}.") from error


def _refuse_foreign_options(spec: EngineSpec) -> None:
    if spec.tensor_parallel_size > 1 or spec.pipeline_parallel_size > 1:
        raise UsageError(
            "transformers spreads a model over all visible GPUs by itself: "
            "--tensor-parallel-size and --pipeline-parallel-size need --engine vllm."
        )
    if spec.gpu_memory_utilization is not None:
        raise UsageError("--gpu-memory-utilization needs --engine vllm.")


def _arguments(spec: EngineSpec, torch: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "dtype": spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype),
        "device_map": _device_map(spec, torch),
        "trust_remote_code": spec.trust_remote_code,
        "use_safetensors": True,
        "local_files_only": True,
        **spec.engine_args,
    }
    if spec.quantization is not None:
        arguments["quantization_config"] = _quantization(spec.quantization)
    return arguments


def _device_map(spec: EngineSpec, torch: Any) -> Any:
    if spec.device != "auto":
        return {"": spec.device}
    if torch.cuda.is_available():
        return "auto" if torch.cuda.device_count() > 1 else {"": 0}
    return {"": "mps"} if torch.backends.mps.is_available() else {"": "cpu"}


def _quantization(name: str) -> Any:
    if name not in QUANTIZATIONS:
        raise UsageError(
            f"transformers quantizes with {' or '.join(QUANTIZATIONS)}, not {name}; "
            "fp8, awq and gptq need --engine vllm."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise NoEngine(f"--quantization {name} needs bitsandbytes (pip install bitsandbytes).")
    from transformers import BitsAndBytesConfig

    if name == "bitsandbytes-int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


class TransformersEngine:
    """A model in this process. The thread that loaded it runs it: OpenMP pools are a thread's.

    `model` is the loaded `transformers.PreTrainedModel`.
    """

    def __init__(self, spec: EngineSpec, model: Any) -> None:
        import torch

        from tulu_cli.engines.transformers.adapters import LoadedAdapters
        from tulu_cli.engines.transformers.cache import KeptCache
        from tulu_cli.engines.transformers.decode import Decoder, RowMaker
        from tulu_cli.engines.transformers.score import Scorer

        try:
            self._adapters = LoadedAdapters(model, spec.adapters)
        except torch.OutOfMemoryError as error:
            raise DoesNotFit(
                f"The adapters of {spec.name} do not fit in memory: {first_line(error)}."
            ) from error
        model.eval()
        self._max_model_len = spec.max_model_len
        self._deterministic = spec.deterministic
        self.model = model
        # The shape of a forward pass decides how its sums are rounded: it is the same everywhere.
        chunk = _CHUNK["server" if spec.deterministic else spec.purpose]
        self._decoder = Decoder(model, chunk, self._adapters)
        self._kept = KeptCache(model.config)
        self._rows = RowMaker(spec.tokenizer, model, self._adapters)
        self._scorer = Scorer(model, chunk, self._adapters)
        self.info = EngineInfo(
            engine="transformers",
            model=spec.name,
            revision=spec.revision,
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
            max_model_len=spec.max_model_len,
            versions=versions("transformers", "torch"),
        )

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request; the prefix shared with the last prompt is not computed."""
        from tulu_cli.engines.transformers.decode import translated

        request = bounded(request, self.info.max_model_len)
        started = time.perf_counter()
        prompt = request.prompt_token_ids
        cache, shared = self._kept.take(prompt, request.adapter)
        fed = list(prompt[:shared])
        try:
            with translated():
                rows = self._rows.make(0, request, started, shared)
                adapters = (request.adapter,)
                prefill = self._decoder.prefill([prompt], cache, shared, adapters=adapters)
                for end, logits in prefill:  # noqa: B007 (the last counts)
                    fed += prompt[len(fed) : end]
                    yield Text("")  # where a consumer can close us in the middle of a prompt
                yield from self._choices(rows, logits, cache, fed)
        finally:
            if not self._deterministic:
                self._kept.keep(cache, fed, request.adapter)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Answer requests many at a time; the next ones begin as soon as some have ended."""
        from tulu_cli.engines.transformers.batch import BatchRunner

        batch = self.continuous()
        if batch is None:
            yield from self._one_by_one(requests)
            return
        try:
            yield from BatchRunner(batch).run(requests)
        finally:
            batch.clear()

    def continuous(self) -> "ContinuousBatch | None":
        """Return an empty batch, for requests that come at any time; None if none may share one."""
        from tulu_cli.engines.transformers.batch import ContinuousBatch

        if self._deterministic:
            return None
        return ContinuousBatch(self._decoder, self._rows, self._max_model_len, _BATCH_ROWS)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Score requests in padded groups; within a window, those of like length together."""
        numbered = enumerate(requests)
        while window := list(islice(numbered, 4 * _BATCH_ROWS)):
            fitting: list[tuple[int, ScoreRequest]] = []
            for position, request in window:
                try:
                    check_fits_context(request, self.info.max_model_len)
                    self._adapters.check(request.adapter)
                    fitting.append((position, request))
                except TuluError as error:
                    yield position, error
            fitting.sort(key=lambda item: (item[1].context_tokens, len(item[1].token_ids)))
            rows = 1 if self._deterministic else _BATCH_ROWS
            for adapter in dict.fromkeys(request.adapter for _, request in fitting):
                alike = [item for item in fitting if item[1].adapter == adapter]
                for start in range(0, len(alike), rows):
                    yield from self._score_group(alike[start : start + rows])

    def forget(self) -> None:
        """Drop the kept cache, so that the next request computes its whole prompt."""
        self._kept.clear()

    def close(self) -> None:
        """Free the memory; the engine cannot be used again."""
        self.forget()
        del self.model, self._decoder, self._rows, self._scorer, self._adapters

    def _one_by_one(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        for position, request in enumerate(requests):
            try:
                answer: list[Completion] | TuluError = collect(self.stream(request))
            except TuluError as error:
                answer = error
            yield position, answer

    def _choices(
        self, rows: "list[BatchRow]", logits: Any, cache: Any, fed: list[int]
    ) -> Iterator[Text | Done]:
        """Decode one request's choices; of several, only the prompt stays in `fed`."""
        several = len(rows) > 1
        if several:
            cache.batch_repeat_interleave(len(rows))
            logits = logits.expand(len(rows), -1)
        try:
            yield from self._decoder.decode(rows, logits, cache, [] if several else fed)
        finally:
            if several:
                cache.batch_select_indices([0])

    def _score_group(
        self, group: list[tuple[int, ScoreRequest]]
    ) -> Iterator[tuple[int, Score | TuluError]]:
        answers = self._scores([request for _, request in group])
        if answers is None:
            half = len(group) // 2
            yield from self._score_group(group[:half])
            yield from self._score_group(group[half:])
            return
        for (position, _), answer in zip(group, answers, strict=True):
            yield position, answer

    def _scores(self, requests: list[ScoreRequest]) -> Sequence[Score | TuluError] | None:
        """Return the answers, or None if memory ran out and fewer at once may fit."""
        from tulu_cli.engines.transformers.decode import translated

        try:
            with translated():
                return self._scorer.score(requests)
        except DoesNotFit as error:
            return [error] if len(requests) == 1 else None
        except TuluError as error:
            return [error] * len(requests)
