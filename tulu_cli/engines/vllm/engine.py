"""AsyncLLM in this process, its model in a worker process that dies with us."""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tulu_cli.core import Completion, Done, Request, Score, ScoreRequest, Text
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import EngineSpec, bounded, check_fits_context, first_line
from tulu_cli.engines.vllm.generate import generate
from tulu_cli.engines.vllm.settings import check_device, engine_arguments, load_error
from tulu_cli.engines.vllm.start import info_of, make_config, start_engine
from tulu_cli.engines.vllm.values import lora_request, score_of, scoring_params
from tulu_cli.engines.worker import last_error_of, quiet_stdout
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.processes import private_folder

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")
_AHEAD = 256  # requests that wait in vLLM, so that one of them begins as soon as one ends
_SOCKETS = "VLLM_RPC_BASE_PATH"  # where vLLM has the sockets of its processes
_END = object()


class VllmEngine:
    """An AsyncLLM on an event loop in a thread of its own; queues carry requests and events."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._numbers = count()
        self._folder = private_folder("vllm")
        self._log = Path(self._folder.name) / "log"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._engine: AsyncLLM = self._call(self._start())
        except Exception as error:
            translated = self._load_error(error)
            self._stop_loop()
            raise translated from error
        config = self._engine.vllm_config
        self._in_flight = config.scheduler_config.max_num_seqs + _AHEAD
        self.info = info_of(config, spec)

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of a request; closing the generator aborts it in the worker."""
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
        """Keep the worker full with requests; yield answers as they end."""
        return self._many(requests, self._answer)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Keep the worker full with requests for scores; yield them as they end."""
        return self._many(requests, self._score)

    def close(self) -> None:
        """Stop the worker and the loop; the engine cannot be used again."""
        if self._loop.is_running():
            self._call(self._shut_down())
            self._stop_loop()

    def _many(
        self, requests: Iterable[_Asked], answer: Callable[[_Asked], Coroutine[Any, Any, _Given]]
    ) -> Iterator[tuple[int, _Given | TuluError]]:
        """Answer requests on the loop, as many at once as vLLM runs, and some that wait there."""
        answers: queue.SimpleQueue[tuple[int, _Given | TuluError]] = queue.SimpleQueue()
        tasks: set[Any] = set()
        waiting = 0
        try:
            for position, request in enumerate(requests):
                if waiting == self._in_flight:
                    yield answers.get()
                    waiting -= 1
                task = asyncio.run_coroutine_threadsafe(
                    self._put(position, answer, request, answers.put), self._loop
                )
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                waiting += 1
            for _ in range(waiting):
                yield answers.get()
        finally:
            for task in list(tasks):
                task.cancel()

    async def _start(self) -> "AsyncLLM":
        # What vLLM logs here is in the exceptions that it raises; the worker's log goes to a file.
        logging.disable(logging.CRITICAL)
        with quiet_stdout():
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.usage.usage_lib import UsageContext

            check_device(self._spec.device, current_platform.device_type)
            # How many are answered at once: 128; for a server 1,024 on a large GPU, as the planner
            # reckons; on a CPU that has 128 too, and 256 where there is a list of requests.
            context = None
            if self._spec.purpose == "server":
                is_cpu = current_platform.is_cpu()
                context = UsageContext.LLM_CLASS if is_cpu else UsageContext.OPENAI_API_SERVER
            try:
                config = make_config(AsyncEngineArgs(**engine_arguments(self._spec)), context)
            except TypeError as error:
                raise UsageError(
                    f"vLLM does not take this --engine-arg: {first_line(error)}."
                ) from error
            os.environ[_SOCKETS] = self._folder.name
            return start_engine(config, log=self._log)

    async def _forward(
        self, events: AsyncIterator[Text | Done], put: Callable[[Any], None]
    ) -> None:
        try:
            async for event in events:
                put(event)
            put(_END)
        except Exception as error:  # noqa: BLE001 (raised again by the consumer)
            put(error)

    async def _put(
        self,
        position: int,
        answer: Callable[[_Asked], Coroutine[Any, Any, _Given]],
        request: _Asked,
        put: Callable[[tuple[int, _Given | TuluError]], None],
    ) -> None:
        try:
            put((position, await answer(request)))
        except Exception as error:  # noqa: BLE001 (becomes the answer)
            put((position, self._run_error(error)))

    async def _answer(self, request: Request) -> list[Completion]:
        request = bounded(request, self._spec.max_model_len)
        # Stop strings are found here, in the text, and only a watched answer can be cut short.
        watched = bool(request.sampling.stop)
        return collect(
            [event async for event in self._generate(request, time.perf_counter(), watched)]
        )

    async def _score(self, request: ScoreRequest) -> Score:
        check_fits_context(request, self._spec.max_model_len)
        outputs = self._engine.generate(
            {"prompt_token_ids": list(request.token_ids)},
            scoring_params(request.top),
            self._name(),
            lora_request=lora_request(request.adapter, self._spec.adapters),
        )
        (output,) = [output async for output in outputs]
        return score_of(request, output.prompt_logprobs)

    async def _generate(
        self, request: Request, started: float, watched: bool = True
    ) -> AsyncIterator[Text | Done]:
        spec = self._spec
        lora = lora_request(request.adapter, spec.adapters)
        made = generate(
            self._engine, request, spec.tokenizer, self._name, started, lora=lora, watched=watched
        )
        async with aclosing(made) as events:
            async for event in events:
                yield event

    def _name(self) -> str:
        return f"tulu-{next(self._numbers)}"

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
        self._folder.cleanup()
        # A server that this process starts later would look for its sockets in there.
        if os.environ.get(_SOCKETS) == self._folder.name:
            del os.environ[_SOCKETS]
        logging.disable(logging.NOTSET)

    def _load_error(self, error: Exception) -> TuluError:
        if isinstance(error, TuluError):
            return error
        return load_error(self._spec.name, last_error_of(self._log) or first_line(error))

    def _run_error(self, error: BaseException) -> TuluError:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, TuluError):
            return error
        if isinstance(error, EngineDeadError):
            reason = last_error_of(self._log)
            said = f" Its last error: {reason}." if reason else ""
            return EngineDied(f"vLLM's worker process died; start again.{said}")
        return EngineError(f"vLLM failed while generating: {first_line(error)}.")
