"""GPU drivers and GPUs as findings."""

from collections.abc import Iterator, Mapping, Sequence

from tulu_cli.doctor.finding import Finding
from tulu_cli.machine import Driver, Gpu
from tulu_cli.text import gib

# vLLM's installation page ("GPU: compute capability 7.0 or higher").
VLLM_NEEDS = (7, 0)
# NVIDIA's CUDA C++ Programming Guide, table of features: bfloat16 since 8.0.
BFLOAT16_NEEDS = (8, 0)
# The variables that hide GPUs, and the commands that list them and show one's errors.
_VISIBLE = {
    "NVIDIA": ("CUDA_VISIBLE_DEVICES",),
    "AMD": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
}
_LIST = {"NVIDIA": "nvidia-smi -L", "AMD": "amd-smi list"}
_STATE = {"NVIDIA": "nvidia-smi", "AMD": "amd-smi"}
_ERRORS = {"NVIDIA": "nvidia-smi -q -d ECC -i {}", "AMD": "amd-smi metric --ecc --gpu {}"}


def judge_drivers(drivers: Sequence[Driver], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the installed drivers and their GPUs. Pure."""
    here = [driver for driver in drivers if not driver.absent]
    for driver in here:
        yield from judge_driver(driver, environment)
    if not here:
        said = (
            "There is no NVIDIA driver and no amdsmi (AMD) on this machine: models run on the CPU."
        )
        yield Finding("note", "driver", said)


def judge_driver(driver: Driver, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Judge one driver and each of its GPUs. Pure."""
    maker = driver.maker
    if driver.failure:
        said = f"The {maker} driver does not answer: {driver.failure}."
        yield Finding("problem", "driver", said, _STATE[maker])
        return
    version = driver.version or "of an unknown version"
    yield Finding("ok", "driver", f"{maker} driver {version}.")
    if not driver.gpus and not driver.broken:
        yield Finding("problem", "driver", "The driver sees no GPU.", _LIST[maker])
    for name in _VISIBLE[maker]:
        if name in environment:
            said = f"{name} is {environment[name]!r}: programs see only those GPUs."
            yield Finding("note", "driver", said, f"unset {name}")
    for gpu in driver.gpus:
        yield from judge_gpu(gpu, maker)
    for index, why in driver.broken:
        said = f"It cannot be used, and models run without it: {why}."
        yield Finding("problem", f"gpu {index}", said, _without(driver))


def judge_gpu(gpu: Gpu, maker: str = "NVIDIA") -> Iterator[Finding]:
    """Judge one GPU. Pure."""
    about = f"gpu {gpu.index}"
    said = f"{gpu.name}: {gib(gpu.free_bytes, 1)} of {gib(gpu.total_bytes, 1)} free"
    said += " in the machine's own memory" if gpu.shared else ""
    capability = ".".join(map(str, gpu.capability or ()))
    said += f", compute capability {capability}" if capability else ""
    yield Finding("ok", about, f"{said}.")
    if gpu.ecc_errors:
        said = (
            f"{gpu.ecc_errors:,} memory errors that could not be corrected: answers may be wrong."
        )
        yield Finding("problem", about, said, _ERRORS[maker].format(gpu.index))
    if gpu.capability and gpu.capability < VLLM_NEEDS:
        needed = ".".join(map(str, VLLM_NEEDS))
        yield Finding(
            "note", about, f"vLLM needs compute capability {needed}: it has {capability}."
        )
    elif gpu.capability and gpu.capability < BFLOAT16_NEEDS:
        said = "It has no bfloat16, the models' own type."
        yield Finding("note", about, said, "tulu config set dtype float16")
    if gpu.slice:
        said = "It is a MIG slice: a program gets one slice, not the whole GPU."
        yield Finding("note", about, said, _LIST[maker])
    for program in gpu.programs:
        size = gib(program.used_bytes, 1) if program.used_bytes else "some of it"
        said = f"{program.name} (process {program.pid}) holds memory: {size}."
        yield Finding("note", about, said)


def _without(driver: Driver) -> str:
    """Return the command that hides the GPUs that do not answer.

    By UUID: CUDA may count the GPUs without one that is lost, and NVML counts it.
    """
    names = [gpu.uuid for gpu in driver.gpus if not gpu.slice]
    if not names or not all(names):
        return _STATE[driver.maker]
    return f"export {_VISIBLE[driver.maker][0]}={','.join(names)}"
