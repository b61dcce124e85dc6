"""The models to compare, each with settings of its own: `NAME,KEY=VALUE,...`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tulu_cli.errors import UsageError
from tulu_cli.settings import KEYS, parsed
from tulu_cli.settings.check import nearest

_KEYS = {key.name: key for key in KEYS if key.name not in ("model", "editing_mode")}


@dataclass(frozen=True, slots=True)
class Choice:
    """A model as the user names it, its name alone, and the settings that only it has."""

    label: str
    name: str
    settings: Mapping[str, Any]


def read_choices(texts: Sequence[str]) -> list[Choice]:
    """Return what `-m` names, each time it is given. Raise UsageError."""
    choices: list[Choice] = []
    for one in map(read_choice, texts):
        if any((one.name, one.settings) == (other.name, other.settings) for other in choices):
            raise UsageError(f"-m {one.label} is given twice: give one of them other settings.")
        choices.append(one)
    return choices


def read_choice(text: str) -> Choice:
    """Return a model with its own settings. Raise UsageError for what is not KEY=VALUE of one."""
    name, *pairs = [text] if os.path.exists(text) else text.split(",")
    if not name:
        raise UsageError(f"-m takes a model's name, and settings behind it, not {text!r}.")
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        known = _KEYS.get(key.replace("-", "_"))
        if not equals:
            raise UsageError(f"-m {text}: {pair!r} is not KEY=VALUE.")
        if known is None:
            raise UsageError(f"-m {text}: there is no setting {key!r}.{nearest(key)}")
        if known.name in settings:
            raise UsageError(f"-m {text}: {key} is given twice.")
        settings[known.name] = parsed(known.kind, value)
        if problem := known.problem(settings[known.name]):
            raise UsageError(f"-m {text}: {key} {problem}")
    return Choice(text, name, settings)
