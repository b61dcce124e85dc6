"""GPUs: each fault as a finding; what drivers say in real processes is in tests/test_gpus.py."""

from dataclasses import replace
from typing import Any

import pytest

from tulu_cli.doctor.finding import Finding
from tulu_cli.doctor.gpus import judge_drivers, judge_gpu
from tulu_cli.machine import Driver, Gpu, Program

GIB = 2**30
H100 = Gpu(0, "H100", 80 * GIB, 79 * GIB, uuid="GPU-0", capability=(9, 0), ecc_errors=0)
ABSENT = (Driver(absent=True), Driver("AMD", absent=True))


def test_a_sound_gpu() -> None:
    found = list(judge_drivers((Driver("NVIDIA", "580.1", (H100,)), ABSENT[1]), {}))
    assert found == [
        Finding("ok", "driver", "NVIDIA driver 580.1."),
        Finding("ok", "gpu 0", "H100: 79.0 GiB of 80.0 GiB free, compute capability 9.0."),
    ]


def test_an_amd_gpu_has_no_compute_capability() -> None:
    gpu = Gpu(0, "AMD Instinct MI300X", 192 * GIB, 191 * GIB, ecc_errors=2)
    found = list(judge_drivers((ABSENT[0], Driver("AMD", "6.16", (gpu,))), {}))
    assert [(one.said, one.mend) for one in found] == [
        ("AMD driver 6.16.", None),
        ("AMD Instinct MI300X: 191.0 GiB of 192.0 GiB free.", None),
        (
            "2 memory errors that could not be corrected: answers may be wrong.",
            "amd-smi metric --ecc --gpu 0",
        ),
    ]


def test_no_driver_at_all() -> None:
    (found,) = judge_drivers(ABSENT, {})
    assert found.level == "note"
    assert found.said == (
        "There is no NVIDIA driver and no amdsmi (AMD) on this machine: models run on the CPU."
    )


CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


@pytest.mark.parametrize(
    ("driver", "environment", "level", "said", "mend"),
    [
        (Driver(failure="Version mismatch"), {}, "problem", "Version mismatch", "nvidia-smi"),
        (Driver("AMD", failure="Busy"), {}, "problem", "The AMD driver does not", "amd-smi"),
        (Driver(version="580"), {}, "problem", "sees no GPU", "nvidia-smi -L"),
        (Driver(gpus=(H100,)), {CUDA: "1", HIP: "0"}, "note", "'1'", "unset CUDA_VISIBLE_DEVICES"),
        (Driver(gpus=(H100,)), {CUDA: ""}, "note", "''", "unset CUDA_VISIBLE_DEVICES"),
        (Driver("AMD", gpus=(H100,)), {HIP: "1"}, "note", "'1'", "unset HIP_VISIBLE_DEVICES"),
        (
            Driver(gpus=(H100,), broken=((1, "GPU is lost"),)),
            {},
            "problem",
            "It cannot be used, and models run without it: GPU is lost.",
            "export CUDA_VISIBLE_DEVICES=GPU-0",
        ),
        (
            Driver("AMD", gpus=(H100,), broken=((1, "Busy"),)),
            {},
            "problem",
            "Busy",
            "export ROCR_VISIBLE_DEVICES=GPU-0",
        ),
        (Driver(broken=((0, "GPU is lost"),)), {}, "problem", "GPU is lost", "nvidia-smi"),
        (
            Driver(gpus=(replace(H100, slice=True),), broken=((1, "GPU is lost"),)),
            {},
            "problem",
            "GPU is lost",
            "nvidia-smi",
        ),
    ],
    ids=range(10),
)
def test_a_fault_of_the_driver(
    driver: Driver, environment: dict[str, str], level: str, said: str, mend: str | None
) -> None:
    findings = judge_drivers((driver,), environment)
    (found,) = [one for one in findings if one.level == level and "slice" not in one.said]
    assert (found.mend, said in found.said) == (mend, True)


@pytest.mark.parametrize(
    ("change", "level", "said", "mend"),
    [
        ({"ecc_errors": 3}, "problem", "3 memory errors", "nvidia-smi -q -d ECC -i 0"),
        ({"capability": (6, 1)}, "note", "needs compute capability 7.0: it has 6.1", None),
        ({"capability": (7, 5)}, "note", "no bfloat16", "tulu config set dtype float16"),
        ({"slice": True}, "note", "MIG slice", "nvidia-smi -L"),
        ({"programs": (Program(7, "python", GIB),)}, "note", "python (process 7)", None),
        ({"programs": (Program(7, "python", 0),)}, "note", "holds memory: some of it", None),
    ],
    ids=range(6),
)
def test_a_fault_of_a_gpu(change: dict[str, Any], level: str, said: str, mend: str | None) -> None:
    found = list(judge_gpu(replace(H100, **change)))[1:]
    assert [(one.level, one.mend, said in one.said) for one in found] == [(level, mend, True)]


def test_what_is_not_known_is_no_fault() -> None:
    (found,) = judge_gpu(Gpu(1, "old", GIB, GIB))
    assert found == Finding("ok", "gpu 1", "old: 1.0 GiB of 1.0 GiB free.")


def test_memory_that_is_the_machines_is_said() -> None:
    (found,) = judge_gpu(replace(H100, shared=True))
    assert "79.0 GiB of 80.0 GiB free in the machine's own memory, compute" in found.said
