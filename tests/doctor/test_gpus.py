"""GPUs: each fault as a finding, and NVML's answers, also those that it refuses."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tulu_cli.doctor.finding import Finding
from tulu_cli.doctor.gpus import Driver, GpuFacts, Process, judge_driver, judge_gpu, read_driver

GIB = 2**30
H100 = GpuFacts(0, "H100", 80 * GIB, 79 * GIB, (9, 0), mig=False, ecc_errors=0)


def test_a_sound_gpu() -> None:
    found = list(judge_driver(Driver("580.1", (H100,)), None))
    assert found == [
        Finding("ok", "driver", "NVIDIA driver 580.1."),
        Finding("ok", "gpu 0", "H100: 79.0 GiB of 80.0 GiB free, compute capability 9.0."),
    ]


@pytest.mark.parametrize(
    ("driver", "visible", "level", "said", "mend"),
    [
        (Driver(absent=True, failure="x"), None, "note", "No NVIDIA driver", None),
        (Driver(failure="Version mismatch"), None, "problem", "Version mismatch", "nvidia-smi"),
        (Driver("580"), None, "problem", "sees no GPU", "nvidia-smi -L"),
        (Driver("580", (H100,)), "1", "note", "'1'", "unset CUDA_VISIBLE_DEVICES"),
        (Driver("580", (H100,)), "", "note", "''", "unset CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_fault_of_the_driver(
    driver: Driver, visible: str | None, level: str, said: str, mend: str | None
) -> None:
    (found,) = [one for one in judge_driver(driver, visible) if one.level != "ok"]
    assert (found.level, found.mend, said in found.said) == (level, mend, True)


@pytest.mark.parametrize(
    ("change", "level", "said", "mend"),
    [
        ({"ecc_errors": 3}, "problem", "3 memory errors", "nvidia-smi -q -d ECC -i 0"),
        ({"capability": (6, 1)}, "note", "needs compute capability 7.0: it has 6.1", None),
        ({"capability": (7, 5)}, "note", "no bfloat16", "tulu config set dtype float16"),
        ({"mig": True}, "note", "MIG slices", "nvidia-smi -L"),
        ({"processes": (Process(7, "python", GIB),)}, "note", "python (process 7)", None),
        ({"processes": (Process(7, "python", 0),)}, "note", "holds memory: some of it", None),
    ],
    ids=range(6),
)
def test_a_fault_of_a_gpu(change: dict[str, Any], level: str, said: str, mend: str | None) -> None:
    found = list(judge_gpu(replace(H100, **change)))[1:]
    assert [(one.level, one.mend, said in one.said) for one in found] == [(level, mend, True)]


def test_what_is_not_known_is_no_fault() -> None:
    (found,) = judge_gpu(GpuFacts(1, "old", GIB, GIB))
    assert (found.level, "capability unknown" in found.said) == ("ok", True)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A driver of the test's own; what is put in the dictionary replaces a call."""
    calls: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=80, free=70),
        "nvmlDeviceGetName": lambda _: "H100",
        "nvmlDeviceGetCudaComputeCapability": lambda _: (9, 0),
        "nvmlDeviceGetMigMode": lambda _: [1, 1],
        "nvmlDeviceGetTotalEccErrors": lambda *_: 2,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [
            SimpleNamespace(pid=7, usedGpuMemory=None)
        ],
        "nvmlSystemGetProcessName": lambda _: "/usr/bin/python3",
    }
    for name in list(calls):
        monkeypatch.setattr(pynvml, name, lambda *given, name=name: calls[name](*given))
    return calls


def failing(*_given: object) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def test_what_nvml_says(nvml: dict[str, Any]) -> None:
    process = Process(7, "python3", 0)
    gpu = GpuFacts(0, "H100", 80, 70, (9, 0), mig=True, ecc_errors=2, processes=(process,))
    assert read_driver() == Driver("580.1", (gpu,))


@pytest.mark.parametrize(
    ("call", "field", "value"),
    [
        ("nvmlDeviceGetCudaComputeCapability", "capability", None),
        ("nvmlDeviceGetMigMode", "mig", None),
        ("nvmlDeviceGetTotalEccErrors", "ecc_errors", None),
        ("nvmlDeviceGetComputeRunningProcesses", "processes", ()),
        ("nvmlSystemGetProcessName", "processes", (Process(7, "a program", 0),)),
    ],
)
def test_what_a_gpu_does_not_tell_is_left_out(
    nvml: dict[str, Any], call: str, field: str, value: object
) -> None:
    nvml[call] = failing
    (gpu,) = read_driver().gpus
    assert getattr(gpu, field) == value


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_fails_says_why(nvml: dict[str, Any], call: str) -> None:
    nvml[call] = failing
    driver = read_driver()
    assert (driver.failure, driver.absent, driver.gpus) == ("Not Supported", False, ())


def test_no_driver_at_all(nvml: dict[str, Any]) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    nvml["nvmlInit"] = absent
    assert read_driver().absent
