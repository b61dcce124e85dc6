"""The fields of a config.json, checked one by one."""

from collections.abc import Mapping
from typing import Any

from tulu_cli.plan.shape import DTYPE_BYTES
from tulu_cli.text import told

Config = Mapping[str, Any]
# No model comes near: a larger number is a typing error.
_MOST = 10**9

# What config.json calls the number of experts; transformers writes some models' by another's name.
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")


class FieldError(Exception):
    """The rest of a sentence about a config.json."""


def number(
    config: Config, key: str, default: int | None = None, least: int = 1, most: int = _MOST
) -> int:
    """Return a whole number, `default` if it is missing.

    Raise FieldError for one that is missing without a default, or out of range.
    """
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise FieldError(f"has no {key}")
    if type(value) is not int or not least <= value <= most:
        raise FieldError(f"has a {key} of {told(value)}")
    return value


def optional(config: Config, key: str) -> int | None:
    """Return a positive whole number, None if it is missing. Raise FieldError as `number` does."""
    return None if config.get(key) is None else number(config, key)


def count(config: Config, key: str) -> int:
    """Return a whole number that is 0 if it is missing. Raise FieldError as `number` does."""
    return number(config, key, 0, least=0)


def flag(config: Config, asked: bool | str) -> bool:
    """Return `asked`, or what the config says under that key."""
    return bool(config.get(asked)) if isinstance(asked, str) else asked


def share(config: Config, key: str) -> float:
    """Return a part of a whole, 1 if it is missing. Raise FieldError if it is none."""
    value = config.get(key)
    value = 1.0 if value is None else value
    if not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise FieldError(f"has a {key} of {told(value)}")
    return float(value)


def each_layer(config: Config, key: str, layers: int) -> list[Any] | None:
    """Return a list with an entry for each layer, None if it is missing.

    Raise FieldError for anything else.
    """
    found = config.get(key)
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != layers:
        raise FieldError(f"has a {key} that does not name all {layers} layers")
    return found


def ratio(config: Config, key: str, default: float = 1.0) -> float:
    """Return a number above 0, `default` if it is missing. Raise FieldError for anything else."""
    value = config.get(key)
    value = default if value is None else value
    if type(value) not in (int, float) or not 0 < value < _MOST:
        raise FieldError(f"has a {key} of {told(value)}")
    return float(value)


def whole_numbers(config: Config, key: str) -> list[int]:
    """Return a list of whole numbers, empty if it is missing. Raise FieldError for another type."""
    found = config.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(type(each) is int for each in found):
        raise FieldError(f"has a {key} of {told(found)}")
    return found


def state_dtype(config: Config, key: str) -> str | None:
    """Return a data type by its name, None if it is missing. Raise FieldError for another."""
    name = config.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or name not in DTYPE_BYTES:
        raise FieldError(f"has a {key} of {told(name)}: known are {', '.join(DTYPE_BYTES)}")
    return name


def part(config: Config, key: str) -> Config:
    """Return an object inside of a config. Raise FieldError if it is missing or another type."""
    found = config.get(key)
    if not isinstance(found, Mapping):
        raise FieldError(f"has no {key}" if found is None else f"has a {key} that is no object")
    return found


def one_size(config: Config, key: str) -> int:
    """Return a size that may be written for both sides. Raise FieldError if they differ."""
    found = config.get(key)
    sides = list(found.values()) if isinstance(found, Mapping) else found
    if isinstance(sides, (list, tuple)):
        if not sides or any(each != sides[0] for each in sides):
            raise FieldError(f"has a {key} of {told(found)}")
        found = sides[0]
    return number({key: found}, key)
