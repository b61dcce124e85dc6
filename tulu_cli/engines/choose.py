"""Choose the engine that answers, and say of every engine why it is, or is not, the one."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from tulu_cli.errors import NoEngine, UsageError
from tulu_cli.machine import Machine

if TYPE_CHECKING:
    from tulu_cli.engines.base import Engine, EngineSpec, ServedModel

# In the order of preference. A name here is a module beside this file.
ENGINES = ("vllm", "transformers")
# Runs on every machine when it is named, and is named nowhere but in tests.
FAKE = "fake"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine to use, with pairs of an engine's name and why it is, or is not, the one."""

    engine: str
    reasons: tuple[tuple[str, str], ...]


def choose(wanted: str, machine: Machine) -> EngineChoice:
    """Return the engine for `wanted`, a name or "auto".

    Raise UsageError for an unknown name, or NoEngine with the reasons.
    """
    if wanted == "auto":
        return _choose_automatically(machine)
    if wanted not in (*ENGINES, FAKE):
        known = ", ".join(("auto", *ENGINES))
        raise UsageError(f"Unknown engine {wanted!r}; choose from {known}.")
    problem = None if wanted == FAKE else why_not(wanted, machine)
    if problem is not None:
        raise NoEngine(f"--engine {wanted} cannot run: {problem}.")
    return EngineChoice(wanted, ((wanted, "asked for"),))


def why_not(engine: str, machine: Machine) -> str | None:
    """Return why `engine` cannot run on this machine, or None if it can."""
    problem: str | None = import_module(f"tulu_cli.engines.{engine}").why_not(machine)
    return problem


def load(choice: EngineChoice, spec: "EngineSpec | ServedModel") -> "Engine":
    """Load the model with the chosen engine. Raise EngineError, DoesNotFit or UsageError."""
    engine: Engine = import_module(f"tulu_cli.engines.{choice.engine}").load(spec)
    return engine


def _choose_automatically(machine: Machine) -> EngineChoice:
    problems = {engine: why_not(engine, machine) for engine in ENGINES}
    if problems["vllm"] is None and not machine.gpus and problems["transformers"] is None:
        problems["vllm"] = "without a GPU, transformers gives its first token sooner"
    able = [engine for engine in ENGINES if problems[engine] is None]
    if not able:
        listed = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise NoEngine(f"No engine can run here. {listed}.")
    reasons = tuple(
        (engine, problems[engine] or ("chosen" if engine == able[0] else "could run too"))
        for engine in ENGINES
    )
    return EngineChoice(able[0], reasons)
