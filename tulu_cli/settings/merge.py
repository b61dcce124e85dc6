"""One set of settings from several: flags, environment, a profile, a project's file, the user's.

What none of them sets is left to the model, and then to our defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tulu_cli.disk import config_path
from tulu_cli.errors import UsageError
from tulu_cli.settings.keys import KEYS, entries, key_at, parsed
from tulu_cli.settings.toml import Source, read_toml


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from: "flag", "TULU_TOP_P", or a file with the profile in it."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """The merged settings; a name that nobody set is absent. Aliases and prompts are by name.

    `origins` says where those came from, by "alias.ours" and "prompts.brief".
    """

    values: Mapping[str, Setting] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting, or `default` where nobody set it."""
        setting = self.values.get(name)
        return default if setting is None else setting.value

    def is_flag(self, name: str) -> bool:
        """Whether a setting was given on the command line of this run."""
        return name in self.values and self.values[name].origin == "flag"


def merge(layers: Sequence[Mapping[str, Setting]]) -> dict[str, Setting]:
    """One mapping from several, the first layer that has a name winning. Pure."""
    merged: dict[str, Setting] = {}
    for layer in reversed(layers):
        merged |= layer
    return merged


def from_flags(flags: Mapping[str, Any]) -> dict[str, Setting]:
    """The settings that flags give; None is a flag that was not given. Raises UsageError."""
    found = {}
    for key in KEYS:
        if (value := flags.get(key.name)) is None:
            continue
        if problem := key.problem(value):
            raise UsageError(f"--{key.name.replace('_', '-')} {problem}")
        found[key.name] = Setting(value, "flag")
    return found


def from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """The settings that TULU_<NAME> variables give; an empty one gives none. Raises UsageError."""
    found = {}
    for key in KEYS:
        variable = f"TULU_{key.name.upper()}"
        if text := environ.get(variable):
            value = parsed(key.kind, text)
            if problem := key.problem(value):
                raise UsageError(f"{variable} {problem}")
            found[key.name] = Setting(value, variable)
    return found


def from_document(document: Mapping[str, Any], origin: str) -> dict[str, Setting]:
    """The settings of a document in which there are no problems."""
    return {
        key.name: Setting(key.kind(value), origin)
        for keys, value in entries(document)
        if (key := key_at(keys))
    }


def profile_of(user: Source, name: str) -> Mapping[str, Any]:
    """The settings of a profile, as a document of its own. Raises UsageError for none such."""
    profiles = user.values.get("profile", {})
    if name not in profiles:
        there = ", ".join(profiles) or "none yet"
        raise UsageError(f"There is no profile {name!r} in {user.path}: it has {there}.")
    return dict(profiles[name])


def read_user_file(environ: Mapping[str, str]) -> Source:
    """The user's own file, which need not be there. Raises BadInput for a broken one."""
    return read_toml(config_path(environ), required=bool(environ.get("TULU_CONFIG")))
