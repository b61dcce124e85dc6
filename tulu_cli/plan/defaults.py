"""The fields that a config.json may leave out, with transformers' values for them.

Models that see leave out most of their text_config and vision_config where they have the sizes of
the first model of that kind. `python -m tools.plan_defaults` writes the file of values.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tulu_cli.plan.fields import EXPERT_COUNTS, Config

PARTS = ("text_config", "vision_config")


def completed(config: Config) -> Config:
    """Return a config.json with what it leaves out, also in its parts."""
    own = _values().get(str(config.get("model_type")), {})
    found = _filled(own, config)
    for key in PARTS:
        given, default = config.get(key), own.get(key)
        if default is None or not (given is None or isinstance(given, dict)):
            continue
        given = default if given is None else given
        kind = given.get("model_type") or default["model_type"]
        found[key] = {**_filled(_values().get(str(kind), {}), given), "model_type": kind}
    return found


def _filled(own: Config, given: Config) -> dict[str, Any]:
    """Return the fields that are given, and those of `own` that have no other name among them."""
    said = any(given.get(key) is not None for key in EXPERT_COUNTS)
    return {key: one for key, one in own.items() if not (said and key in EXPERT_COUNTS)} | dict(
        given
    )


@cache
def _values() -> dict[str, dict[str, Any]]:
    text = Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    values: dict[str, dict[str, Any]] = json.loads(text)
    return values
