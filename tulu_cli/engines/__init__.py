"""The engines, and which one is to answer."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from tulu_cli.errors import NoEngine, UsageError
from tulu_cli.machine import Machine

if TYPE_CHECKING:
    from tulu_cli.engines.base import Engine, EngineSpec, ServedModel

# In the order of preference. A name here is a module beside this file.
ENGINES = ("vllm", "transformers", "fake")


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine to use, and for each engine why it is, or is not, the one."""

    engine: str
    reasons: tuple[tuple[str, str], ...]


def choose(wanted: str, machine: Machine) -> Choice:
    """The engine for `wanted`, a name or "auto". Raises UsageError, or NoEngine with reasons."""
    if wanted == "auto":
        return _choose_automatically(machine)
    if wanted not in ENGINES:
        raise UsageError(f"{wanted!r} is no engine; choose auto, {', '.join(ENGINES)}.")
    problem = None if wanted == "fake" else why_not(wanted, machine)
    if problem is not None:
        raise NoEngine(f"--engine {wanted} cannot run: {problem}.")
    return Choice(wanted, ((wanted, "asked for"),))


def why_not(engine: str, machine: Machine) -> str | None:
    """Why `engine` cannot run on this machine, or None where it can."""
    problem: str | None = import_module(f"tulu_cli.engines.{engine}").why_not(machine)
    return problem


def load(choice: Choice, spec: "EngineSpec | ServedModel") -> "Engine":
    """Load the model with the chosen engine; raises EngineError, DoesNotFit and their kin."""
    engine: Engine = import_module(f"tulu_cli.engines.{choice.engine}").load(spec)
    return engine


def _choose_automatically(machine: Machine) -> Choice:
    problems = {engine: why_not(engine, machine) for engine in ENGINES}
    if problems["vllm"] is None and not machine.gpus and problems["transformers"] is None:
        problems["vllm"] = "without a GPU, transformers gives its first token sooner"
    able = [engine for engine in ENGINES if problems[engine] is None]
    if not able:
        said = "; ".join(f"{name}: {why}" for name, why in problems.items() if name != "fake")
        raise NoEngine(f"No engine can run here. {said}.")
    reasons = tuple(
        (engine, problems[engine] or ("chosen" if engine == able[0] else "could run too"))
        for engine in ENGINES
    )
    return Choice(able[0], reasons)
