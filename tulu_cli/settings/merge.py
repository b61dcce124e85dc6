"""Merge settings: flags, then environment, a profile, a project's file, and the user's file.

What none of them sets is left to the model, and then to our defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tulu_cli.disk import config_path
from tulu_cli.errors import UsageError
from tulu_cli.settings.keys import KEYS, entries, key_at, parsed
from tulu_cli.settings.toml import Source, read_toml


class Setting(NamedTuple):
    """A value and its origin: "flag", "TULU_TOP_P", or a file, with the profile if there is one."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """The merged settings, aliases and prompts by name; a name that nobody set is absent.

    `origins` has the file of each alias and prompt, by "alias.ours" and "prompts.brief".
    """

    values: Mapping[str, Setting] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a setting, or `default` if nobody set it."""
        setting = self.values.get(name)
        return default if setting is None else setting.value

    def without(self, name: str) -> "Settings":
        """Return the settings as if nobody had set this one."""
        kept = {key: setting for key, setting in self.values.items() if key != name}
        return replace(self, values=kept)

    def is_flag(self, name: str) -> bool:
        """Return True if a setting was given on the command line."""
        return name in self.values and self.values[name].origin == "flag"


def merge(layers: Sequence[Mapping[str, Setting]]) -> dict[str, Setting]:
    """Merge mappings; the first layer that has a name wins. Pure."""
    merged: dict[str, Setting] = {}
    for layer in reversed(layers):
        merged |= layer
    return merged


def from_flags(flags: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the settings given as flags, where None is not given. Raise UsageError for a value."""
    found = {}
    for key in KEYS:
        if (value := flags.get(key.name)) is None or value == []:
            continue
        if problem := key.problem(value):
            raise UsageError(f"--{key.name.replace('_', '-')} {problem}")
        found[key.name] = Setting(value, "flag")
    return found


def from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """Return the settings of TULU_<NAME> variables; empty ones do not count. Raise UsageError."""
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
    """Return the settings of a document that has been checked."""
    return {
        key.name: Setting(key.kind(key.read(value)), origin)
        for keys, value in entries(document)
        if (key := key_at(keys))
    }


def profile_of(user: Source, name: str) -> Mapping[str, Any]:
    """Return a profile as a document of its own. Raise UsageError if there is none of that name."""
    profiles = user.values.get("profile", {})
    if name not in profiles:
        there = ", ".join(profiles) or "none yet"
        raise UsageError(f"There is no profile {name!r} in {user.path}: it has {there}.")
    return dict(profiles[name])


def read_user_file(environ: Mapping[str, str]) -> Source:
    """Read the user's file, which need not exist. Raise BadInput if it is broken."""
    return read_toml(config_path(environ), required=bool(environ.get("TULU_CONFIG")))
