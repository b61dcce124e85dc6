"""The NVIDIA driver and its GPUs, as NVML tells of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from tulu_cli.doctor.finding import Finding
from tulu_cli.quantities import gib

# vLLM's installation page ("GPU: compute capability 7.0 or higher").
VLLM_NEEDS = (7, 0)
# NVIDIA's CUDA C++ Programming Guide, table of features: bfloat16 since 8.0.
BFLOAT16_NEEDS = (8, 0)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds memory of a GPU, in bytes; 0 where the driver does not say."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU; None is what its driver does not tell. `ecc_errors` were not corrected."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int] | None = None
    mig: bool | None = None
    ecc_errors: int | None = None
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver: `failure` is why it does not answer, `absent` that there is none at all."""

    version: str | None = None
    gpus: tuple[GpuFacts, ...] = ()
    failure: str | None = None
    absent: bool = False


def judge_driver(driver: Driver, visible: str | None) -> Iterator[Finding]:
    """`visible` is CUDA_VISIBLE_DEVICES. Pure."""
    if driver.absent:
        yield Finding("note", "driver", "No NVIDIA driver is here: models run on the CPU.")
        return
    if driver.failure:
        said = f"The NVIDIA driver does not answer: {driver.failure}."
        yield Finding("problem", "driver", said, "nvidia-smi")
        return
    yield Finding("ok", "driver", f"NVIDIA driver {driver.version or 'of an unknown version'}.")
    if not driver.gpus:
        yield Finding("problem", "driver", "The driver sees no GPU.", "nvidia-smi -L")
    if visible is not None:
        said = f"CUDA_VISIBLE_DEVICES is {visible!r}: programs see only those GPUs."
        yield Finding("note", "driver", said, "unset CUDA_VISIBLE_DEVICES")
    for gpu in driver.gpus:
        yield from judge_gpu(gpu)


def judge_gpu(gpu: GpuFacts) -> Iterator[Finding]:
    """What there is to say about one GPU. Pure."""
    about = f"gpu {gpu.index}"
    capability = ".".join(map(str, gpu.capability)) if gpu.capability else "unknown"
    memory = f"{gib(gpu.free_bytes, 1)} of {gib(gpu.total_bytes, 1)} free"
    yield Finding("ok", about, f"{gpu.name}: {memory}, compute capability {capability}.")
    if gpu.ecc_errors:
        said = (
            f"{gpu.ecc_errors:,} memory errors that could not be corrected: answers may be wrong."
        )
        yield Finding("problem", about, said, f"nvidia-smi -q -d ECC -i {gpu.index}")
    if gpu.capability and gpu.capability < VLLM_NEEDS:
        needed = ".".join(map(str, VLLM_NEEDS))
        yield Finding(
            "note", about, f"vLLM needs compute capability {needed}: it has {capability}."
        )
    elif gpu.capability and gpu.capability < BFLOAT16_NEEDS:
        said = "It has no bfloat16, the models' own type."
        yield Finding("note", about, said, "tulu config set dtype float16")
    if gpu.mig:
        said = "It is cut into MIG slices: a program gets one slice, not the whole."
        yield Finding("note", about, said, "nvidia-smi -L")
    for process in gpu.processes:
        size = gib(process.used_bytes, 1) if process.used_bytes else "some of it"
        said = f"{process.name} (process {process.pid}) holds memory: {size}."
        yield Finding("note", about, said)


def read_driver() -> Driver:
    """Ask NVML. What a GPU does not tell is left out."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Driver(failure=str(error), absent=error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    try:
        count = pynvml.nvmlDeviceGetCount()
        gpus = tuple(_read_gpu(index) for index in range(count))
        return Driver(_asked(lambda: str(pynvml.nvmlSystemGetDriverVersion())), gpus)
    except pynvml.NVMLError as error:
        return Driver(failure=str(error))
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_gpu(index: int) -> GpuFacts:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    kinds = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
    found = _asked(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
    return GpuFacts(
        index=index,
        name=str(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        capability=_asked(lambda: tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
        mig=_asked(lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0])),
        ecc_errors=_asked(lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(handle, *kinds))),
        processes=tuple(map(_read_process, found)),
    )


def _read_process(process: Any) -> Process:
    import pynvml

    name = _asked(lambda: os.path.basename(str(pynvml.nvmlSystemGetProcessName(process.pid))))
    return Process(process.pid, name or "a program", int(process.usedGpuMemory or 0))


def _asked(question: Callable[[], _Answer]) -> _Answer | None:
    """The driver's answer, None where this GPU, or this user, gets none."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
