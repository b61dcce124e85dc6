"""AMD's GPUs as users meet them: real processes of tulu over an amdsmi that answers as it is told.

That amdsmi is the tests' own: its calls and what they return are those of AMD's package 7.0.2.
"""

import json
from pathlib import Path

import pytest

from tests.gpus import VARIABLES
from tests.program import tulu
from tests.test_startup import watched
from tulu_cli.machine import Driver, gpu_memory, read_amd, read_gpus, read_nvidia

GIB = 2**30
STUB = Path(__file__).with_name("gpu_stub")


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The package can be imported, here and in children; there is no NVIDIA GPU."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tulu_cli.machine.has_driver", lambda: False)
    monkeypatch.setenv("PYTHONPATH", str(STUB))
    monkeypatch.syspath_prepend(str(STUB))
    return monkeypatch


def indices() -> list[int]:
    return [gpu.index for gpu in read_gpus()]


@pytest.mark.parametrize("count", [0, 1, 8])
def test_every_gpu_counts(amd: pytest.MonkeyPatch, count: int) -> None:
    amd.setenv("AMD_GPUS", str(count))
    driver = read_amd()
    assert (driver.failure, driver.absent, driver.broken) == (None, False, ())
    assert driver.version == ("6.12.12" if count else None)
    assert [(gpu.index, gpu.name, gpu.total_bytes, gpu.free_bytes) for gpu in read_gpus()] == [
        (index, "AMD Instinct MI300X", 192 * GIB, 191 * GIB) for index in range(count)
    ]
    assert gpu_memory({77}) == dict.fromkeys(range(count), GIB)


@pytest.mark.parametrize("call", ["asic_info", "memory_total", "memory_usage"])
def test_a_gpu_that_fails_hides_no_other(amd: pytest.MonkeyPatch, call: str) -> None:
    amd.setenv("AMD_GPUS", "3")
    amd.setenv("AMD_FAIL", f"1:{call}")
    words = "Error code: 13 | AMDSMI_STATUS_ADDRESS_FAULT - Bad address"
    assert read_amd().broken == ((1, words),)
    assert indices() == [0, 2]
    amd.setenv("HIP_VISIBLE_DEVICES", "2")
    assert indices() == [2]


@pytest.mark.parametrize("call", ["driver_info", "total_ecc_count", "process_list"])
def test_what_a_sound_gpu_does_not_tell_is_left_out(amd: pytest.MonkeyPatch, call: str) -> None:
    amd.setenv("AMD_FAIL", f"0:{call}")
    driver = read_amd()
    (gpu,) = driver.gpus
    assert (driver.version is None) == (call == "driver_info")
    assert (gpu.ecc_errors is None) == (call == "total_ecc_count")
    assert (gpu.programs == ()) == (call == "process_list")


@pytest.mark.parametrize("call", ["init", "handles"])
def test_a_driver_that_fails_says_why(amd: pytest.MonkeyPatch, call: str) -> None:
    amd.setenv("AMD_FAIL", f":{call}")
    assert "Bad address" in str(read_amd().failure)
    assert indices() == []


def test_a_package_without_its_library_is_no_driver(amd: pytest.MonkeyPatch) -> None:
    amd.setenv("AMD_FAIL", ":import")
    assert read_amd() == Driver("AMD", absent=True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, [0]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"ROCR_VISIBLE_DEVICES": "2,1"}, [2, 1]),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "2", "HIP_VISIBLE_DEVICES": "2"}, []),
        ({"ROCR_VISIBLE_DEVICES": "GPU-00000000000abcd1"}, [1]),
    ],
    ids=str,
)
def test_the_variables_of_rocm(
    amd: pytest.MonkeyPatch, variables: dict[str, str], expected: list[int]
) -> None:
    amd.setenv("AMD_GPUS", "3")
    for name, text in variables.items():
        amd.setenv(name, text)
    assert indices() == expected


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("import time; time.sleep(600)", "amdsmi does not answer within 0.5 seconds"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "amdsmi cannot be used"),
        ("print('not json')", "amdsmi cannot be used"),
        ("print('[1]')", "amdsmi cannot be used"),
        ("print('{}')", "amdsmi cannot be used"),
    ],
    ids=range(5),
)
def test_a_child_that_fails(
    amd: pytest.MonkeyPatch, tmp_path: Path, script: str, failure: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(script)
    assert read_amd(child, 0.5 if "sleep" in script else 60).failure == failure


def test_nothing_is_asked_where_the_package_is_not_installed(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("1/0")
    assert read_amd(child) == Driver("AMD", absent=True)


@pytest.mark.skipif(bool(read_nvidia().gpus), reason="NVIDIA's GPUs here come first")
def test_the_program_finds_them(amd: pytest.MonkeyPatch) -> None:
    amd.setenv("AMD_GPUS", "2")
    findings = [(one["about"], one["said"]) for one in json.loads(tulu("doctor", "--json").stdout)]
    assert ("driver", "AMD driver 6.12.12.") in findings
    assert ("gpu 1", "AMD Instinct MI300X: 191.0 GiB of 192.0 GiB free.") in findings
    assert all(not said.startswith("vllm would not run") for _, said in findings)
    done = tulu("plan", "8b")
    assert done.stdout.startswith(b"8b on 2 x AMD Instinct MI300X (tensor parallel 2)")
    assert b"GPU 0 (AMD Instinct MI300X): python3 (process 77) holds 1.00 GiB" in done.stderr
    _, modules, _ = watched("plan", "8b")
    assert "amdsmi" not in modules  # it and torch do not bear one another
