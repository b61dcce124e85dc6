"""The transformers engine: whether it can run, and how it is loaded.

What answers is in `engine.py`, since only a question is asked of this module by every command.
"""

from typing import TYPE_CHECKING

from tulu_cli.engines.base import EngineSpec
from tulu_cli.machine import Machine, install

if TYPE_CHECKING:
    from tulu_cli.engines.transformers.engine import TransformersEngine


def why_not(machine: Machine) -> str | None:
    """Return why this engine cannot run here, or None if it can."""
    for package in ("torch", "transformers"):
        if package not in machine.packages:
            return f"{package} is not installed ({install('transformers')})"
    return None


def load(spec: EngineSpec) -> "TransformersEngine":
    """Load the model's weights. Raise DoesNotFit, NoEngine, UsageError or EngineError."""
    from tulu_cli.engines.transformers.engine import TransformersEngine, load_model
    from tulu_cli.engines.worker import hub_switched_off

    with hub_switched_off():
        return TransformersEngine(spec, load_model(spec))
