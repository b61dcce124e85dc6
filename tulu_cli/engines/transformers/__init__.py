"""The transformers engine: whether it can run, and how it is loaded.

What answers is in `engine.py`, since only a question is asked of this module by every command.
"""

import os
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
    _shorten_spinning()
    from tulu_cli.engines.transformers.engine import TransformersEngine, load_model
    from tulu_cli.engines.worker import hub_switched_off

    with hub_switched_off():
        return TransformersEngine(spec, load_model(spec))


def _shorten_spinning() -> None:
    """Let libgomp's threads sleep soon where they wait for one another; torch reads this once.

    By default they spin for milliseconds at each of some hundred barriers a token, which takes the
    core from the very thread that is waited for if anything else runs (GOMP_SPINCOUNT in
    https://gcc.gnu.org/onlinedocs/libgomp/). On two cores 5,000 rounds cost nothing measurable in
    quiet, and beside a busy program spare most of that; 1,000 cost some of the speed in quiet. What
    the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
