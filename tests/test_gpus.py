"""GPUs as users meet them: real processes of tulu over a driver that answers as it is told."""

import json
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tests.gpus import VARIABLES, build_nvml
from tests.program import environment, tulu
from tulu_cli.machine import all_memory

MIB = 2**20
H100, USED = 81559 * MIB, 500 * MIB
LOOK = """
import json
from dataclasses import asdict
from tulu_cli.machine import gpu_memory, read_machine, read_nvidia
print(json.dumps([asdict(read_machine()), gpu_memory({77}), read_nvidia().broken]))
"""
LOST = 15
UNKNOWN = 999
NO_PERMISSION = 4


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_nvml(tmp_path_factory.mktemp("nvml")))


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nvml(library: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Children find the library; the test says by variables what it has."""
    monkeypatch.setenv("LD_LIBRARY_PATH", library)
    return monkeypatch


class Look(NamedTuple):
    """The GPUs of `read_machine`, what `gpu_memory` says of process 77, and what is broken."""

    gpus: list[dict[str, Any]]
    held: dict[str, int]
    broken: list[list[Any]]


def look() -> Look:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment(), capture_output=True, check=True
    )
    assert done.stderr == b""
    machine, held, broken = json.loads(done.stdout)
    return Look(machine["gpus"], held, broken)


def doctor() -> list[tuple[str, str, str]]:
    """What `tulu doctor` finds of drivers and GPUs: level, about, said."""
    done = tulu("doctor", "--json")
    assert b"Traceback" not in done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == any(one["level"] == "problem" for one in found)
    about = [one for one in found if one["about"].startswith(("driver", "gpu"))]
    return [(one["level"], one["about"], one["said"]) for one in about]


def plan(*arguments: str) -> tuple[int, str, list[str]]:
    done = tulu("plan", "8b", *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode().splitlines()


@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_every_gpu_counts(nvml: pytest.MonkeyPatch, count: int) -> None:
    nvml.setenv("NVML_GPUS", str(count))
    gpus, held, broken = look()
    assert [(gpu["index"], gpu["total_bytes"], gpu["free_bytes"]) for gpu in gpus] == [
        (index, H100, H100 - USED) for index in range(count)
    ]
    assert (held, broken) == ({}, [])
    code, output, said = plan("--vllm-version", "0.32.0")
    assert (code, said) == (0, [])
    head = output.splitlines()[0]
    if count == 0:
        assert head.startswith("GPUs ")
    else:
        assert head.startswith(f"8b on {count} x NVIDIA H100 80GB HBM3")
        assert ("tensor parallel" in head) == (count > 1)


@pytest.mark.parametrize("count", [0, 2])
def test_the_doctor_looks_at_every_gpu(nvml: pytest.MonkeyPatch, count: int) -> None:
    nvml.setenv("NVML_GPUS", str(count))
    sound = "NVIDIA H100 80GB HBM3: 79.2 GiB of 79.6 GiB free, compute capability 9.0."
    none = [("problem", "driver", "The driver sees no GPU.")] * (count == 0)
    assert doctor() == [
        ("ok", "driver", "NVIDIA driver 580.95.05."),
        *none,
        *(("ok", f"gpu {index}", sound) for index in range(count)),
    ]


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("handle", LOST, "GPU is lost"),
        ("handle", UNKNOWN, "Unknown Error"),
        ("memory", LOST, "GPU is lost"),
        ("memory", NO_PERMISSION, "Insufficient Permissions"),
        ("name", LOST, "GPU is lost"),
        ("uuid", LOST, "GPU is lost"),
        ("uuid", UNKNOWN, "Unknown Error"),
        ("capability", LOST, "GPU is lost"),
        ("processes", LOST, "GPU is lost"),
        ("mig", LOST, "GPU is lost"),
        ("ecc", LOST, "GPU is lost"),
    ],
)
def test_a_gpu_that_fails_hides_no_other(
    nvml: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    nvml.setenv("NVML_GPUS", "3")
    nvml.setenv("NVML_PROCESS", "77")
    nvml.setenv("NVML_FAIL", f"1:{call}:{code}")
    gpus, held, broken = look()
    assert [gpu["index"] for gpu in gpus] == [0, 2]
    assert held == {"0": USED, "2": USED}
    assert broken == [[1, words]]


@pytest.mark.parametrize("call", ["handle", "memory", "name", "uuid"])
def test_a_gpu_that_fails_is_a_problem_in_the_drivers_words(
    nvml: pytest.MonkeyPatch, call: str
) -> None:
    nvml.setenv("NVML_GPUS", "3")
    nvml.setenv("NVML_FAIL", f"1:{call}:{LOST}")
    findings = doctor()
    assert [about for level, about, _ in findings if level == "ok"] == ["driver", "gpu 0", "gpu 2"]
    assert [one for one in findings if one[0] == "problem"] == [
        ("problem", "gpu 1", "It cannot be used, and models run without it: GPU is lost.")
    ]


@pytest.mark.parametrize("call", ["capability", "ecc", "processes", "mig"])
def test_what_a_sound_gpu_does_not_tell_is_left_out(nvml: pytest.MonkeyPatch, call: str) -> None:
    nvml.setenv("NVML_FAIL", f"0:{call}:3")
    (gpu,) = look().gpus
    assert (gpu["index"], gpu["total_bytes"], gpu["programs"], gpu["slice"]) == (0, H100, [], False)
    assert (gpu["capability"] is None) == (call == "capability")


def test_a_plan_leaves_out_the_gpu_that_is_lost(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_GPUS", "3")
    nvml.setenv("NVML_FAIL", f"1:memory:{LOST}")
    code, output, _ = plan()
    assert (code, output.startswith("8b on 2 x NVIDIA H100 80GB HBM3 (tensor parallel 2)")) == (
        0,
        True,
    )


@pytest.mark.parametrize(
    ("visible", "indices"),
    [("2,0", [2, 0]), ("0,1,2", [0]), ("GPU-00000003", [2]), ("0,0", []), ("", []), ("0,,2", [0])],
)
def test_a_number_of_cuda_visible_devices_is_nvmls(
    nvml: pytest.MonkeyPatch, visible: str, indices: list[int]
) -> None:
    nvml.setenv("NVML_GPUS", "3")
    nvml.setenv("NVML_FAIL", f"1:handle:{LOST}")
    nvml.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu["index"] for gpu in look().gpus] == indices


def test_the_doctors_command_leaves_the_sound_gpus(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_GPUS", "3")
    nvml.setenv("NVML_FAIL", f"1:name:{LOST}")
    (mend,) = re.findall(r"export CUDA_VISIBLE_DEVICES=(\S+)", tulu("doctor").stdout.decode())
    nvml.setenv("CUDA_VISIBLE_DEVICES", mend)
    assert [gpu["index"] for gpu in look().gpus] == [0, 2]


@pytest.mark.parametrize(("call", "code"), [("count", UNKNOWN), ("init", 9)])
def test_a_driver_that_fails_has_no_gpus_and_says_why(
    nvml: pytest.MonkeyPatch, call: str, code: int
) -> None:
    nvml.setenv("NVML_FAIL", f"0:{call}:{code}")
    assert look() == ([], {}, [])
    words = "Driver Not Loaded" if code == 9 else "Unknown Error"
    said = f"The NVIDIA driver does not answer: {words}."
    assert doctor() == [("problem", "driver", said)]


def test_memory_that_a_gpu_shares_with_the_machine(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_NAME", "NVIDIA GB10")
    nvml.setenv("NVML_CAPABILITY", "12.1")
    nvml.setenv("NVML_UNIFIED", "1")
    (gpu,) = look().gpus
    assert (gpu["name"], gpu["total_bytes"], gpu["shared"]) == ("NVIDIA GB10", all_memory(), True)
    assert 0 < gpu["free_bytes"] < gpu["total_bytes"]
    code, output, said = plan("--json")
    planned = json.loads(output)["gpu"]
    assert (planned["name"], planned["total_bytes"]) == ("NVIDIA GB10", all_memory())
    assert code in (0, 3)  # as much as is free here at the moment
    assert len(said) <= 1
    sentences = [said for _, about, said in doctor() if about == "gpu 0"]
    assert len(sentences) == 1
    assert sentences[0].startswith("NVIDIA GB10: ")
    assert sentences[0].endswith("free in the machine's own memory, compute capability 12.1.")


def test_gpus_that_are_in_use(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_USED_MIB", "70000")
    nvml.setenv("NVML_PROCESS", "77")
    (gpu,), held, _ = look()
    assert gpu["free_bytes"] == H100 - 70000 * MIB
    assert held == {"0": 70000 * MIB}
    code, _, said = plan()
    assert code == 3
    assert said[0] == "tulu: GPU 0 (NVIDIA H100 80GB HBM3): other (process 77) holds 68.36 GiB"
    assert re.fullmatch(r"tulu: 8b does not fit: .* other programs hold the rest\.", said[1])
    assert len(said) == 2
    assert ("note", "gpu 0", "other (process 77) holds memory: 68.4 GiB.") in doctor()


def test_a_gpu_in_slices_is_its_slices(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_GPUS", "2")
    nvml.setenv("NVML_SLICES", "2")
    gpus = look().gpus
    assert [(gpu["index"], gpu["slice"], gpu["total_bytes"]) for gpu in gpus] == [
        (0, True, H100 // 2),
        (0, True, H100 // 2),
        (1, False, H100),
    ]
    notes = [(level, about) for level, about, said in doctor() if "MIG slice" in said]
    assert notes == [("note", "gpu 0")] * 2


def test_a_gpu_that_waits_for_its_slices_runs_nothing(nvml: pytest.MonkeyPatch) -> None:
    nvml.setenv("NVML_GPUS", "2")
    nvml.setenv("NVML_SLICES", "0")
    assert [gpu["index"] for gpu in look().gpus] == [1]
    assert look().broken == [[0, "it is in MIG mode and has no slice yet"]]
