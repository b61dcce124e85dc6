"""Write tulu_cli/plan/defaults.json: what transformers takes for fields that a config.json lacks.

    python -m tools.plan_defaults

Only the fields that the planner reads are kept, of the architectures that it knows.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from tulu_cli.plan.architectures import ARCHITECTURES
from tulu_cli.plan.defaults import PARTS
from tulu_cli.plan.families import FAMILIES

PLAN = Path(__file__).parents[1] / "tulu_cli" / "plan"
FILE = PLAN / "defaults.json"
_SOURCES = (
    "architectures",
    "decoder",
    "families",
    "hybrids",
    "variants",
    "encoders",
    "images",
    "older",
)
_LONGEST = 40  # entries: a longer list is of a model's layers


def defaults() -> dict[str, dict[str, Any]]:
    """Return the fields by model_type, those of a part by the part's own model_type."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    names = {**MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, **MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    known = set(FAMILIES) | set(ARCHITECTURES)
    found: dict[str, dict[str, Any]] = {}
    for kind, names_of_kind in sorted(names.items()):
        if kind in CONFIG_MAPPING and (names_of_kind in known or kind in _ENCODERS):
            _add(found, CONFIG_MAPPING[kind]())
    for kind in _ENCODERS:
        _add(found, CONFIG_MAPPING[kind]())
    return dict(sorted(found.items()))


_ENCODERS = ("clip_vision_model", "siglip_vision_model", "siglip2_vision_model", "pixtral")


def _add(found: dict[str, dict[str, Any]], config: Any) -> None:
    kept = _kept(config)
    for key in PARTS:
        if (own := getattr(config, key, None)) is not None:
            _add(found, type(own)())
            alone = found[own.model_type]
            kept[key] = {"model_type": own.model_type} | {
                name: value for name, value in _kept(own).items() if alone.get(name) != value
            }
            # Written without it, a model that sees is tied as its language model is.
            kept.pop("tie_word_embeddings", None)
    found[config.model_type] = kept


def _kept(config: Any) -> dict[str, Any]:
    fields = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in fields.items() if key in keys() and _is_plain(value)}


@cache
def keys() -> set[str]:
    """Return the names of the fields that the planner reads, and perhaps more."""
    text = "".join((PLAN / f"{name}.py").read_text(encoding="utf-8") for name in _SOURCES)
    return set(re.findall(r'"([a-z]\w+)"', text)) - {"model_type", "dtype", "torch_dtype"}


def _is_plain(value: Any) -> bool:
    """Return True for what does not follow from the number of layers."""
    if isinstance(value, list):
        return 0 < len(value) <= _LONGEST and not any(isinstance(each, str) for each in value)
    return value is not None and not isinstance(value, dict)


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(defaults(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
