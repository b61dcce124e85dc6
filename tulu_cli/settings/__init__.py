"""Settings: flags, then the environment, a profile, a project's file, the user's file.

What none of them sets is left to the model, and then to our defaults.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.errors import UsageError
from tulu_cli.settings.toml import Source, read_toml


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its name, which is its flag's too, its table in the file, and what it takes."""

    name: str
    table: str
    kind: type
    wanted: str = ""
    accepts: Callable[[Any], bool] = lambda _value: True

    @property
    def keys(self) -> tuple[str, ...]:
        """Where it stands in a document."""
        return (self.table, self.name) if self.table else (self.name,)

    def problem(self, value: Any) -> str | None:
        """What to say about a value that this setting does not take, None for one that it does."""
        if type(value) is not self.kind:
            return f"takes {_KINDS[self.kind]}, not {value!r}."
        if not self.accepts(value) or (isinstance(value, float) and not math.isfinite(value)):
            return f"takes {self.wanted}, not {value}."
        return None


def _at_least(least: float) -> Callable[[Any], bool]:
    return lambda value: bool(value >= least)


_KINDS = {str: "a text", int: "a whole number", float: "a number"}
DTYPES = ("auto", "bfloat16", "float16", "float32")
_EDITING_MODES = ("emacs", "vi")

KEYS = (
    Key("model", "", str),
    Key("system", "", str),
    Key("max_tokens", "sampling", int, "1 or more", _at_least(1)),
    Key("temperature", "sampling", float, "0 or more", _at_least(0)),
    Key("top_p", "sampling", float, "over 0 and up to 1", lambda value: 0 < value <= 1),
    Key("top_k", "sampling", int, "0 (off) or more", _at_least(0)),
    Key("min_p", "sampling", float, "from 0 to 1", lambda value: 0 <= value <= 1),
    Key("repetition_penalty", "sampling", float, "over 0", lambda value: value > 0),
    Key("seed", "sampling", int, "from 0 to 2^63 - 1", lambda value: 0 <= value < 2**63),
    Key("engine", "engine", str),
    Key("dtype", "engine", str, ", ".join(DTYPES), DTYPES.__contains__),
    Key("quantization", "engine", str),
    Key("tensor_parallel_size", "engine", int, "1 or more", _at_least(1)),
    Key("pipeline_parallel_size", "engine", int, "1 or more", _at_least(1)),
    Key("gpu_memory_utilization", "engine", float, "over 0, up to 1", lambda value: 0 < value <= 1),
    Key("max_model_len", "engine", int, "1 or more", _at_least(1)),
    Key("device", "engine", str),
    Key("editing_mode", "chat", str, " or ".join(_EDITING_MODES), _EDITING_MODES.__contains__),
    Key("keep_alive", "server", str),
    Key("server", "server", str),
    Key("api_key_env", "server", str),
)
FREE_TABLES = ("alias", "prompts")
PROJECT_FILE = Path(".tulu.toml")


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


def read_settings(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    project: Path | None = PROJECT_FILE,
) -> Settings:
    """The settings of this run, from flags, environment, profile, project and user, in this order.

    `flags` may name a `profile`, and so may TULU_PROFILE. None is no project file.
    Raises UsageError for a value, BadInput for a broken file.
    """
    from tulu_cli.settings.check import problems, read_project, refuse

    user = read_user_file(environ)
    refuse(user, problems(user.values))
    name = flags.get("profile") or environ.get("TULU_PROFILE")
    profile = profile_of(user, name) if name else {}
    parts = [(user.values, str(user.path)), (profile, f"{user.path} [profile.{name}]")]
    aliases = _named("alias", parts)
    cloned = read_project(project, aliases) if project else Source(PROJECT_FILE)
    parts.insert(1, (cloned.values, str(cloned.path)))
    prompts = _named("prompts", parts)
    layers = [from_document(document, origin) for document, origin in reversed(parts)]
    return Settings(
        merge((from_flags(flags), from_environment(environ), *layers)),
        {name: alias.value for name, alias in aliases.items()},
        {name: prompt.value for name, prompt in prompts.items()},
        {f"alias.{name}": alias.origin for name, alias in aliases.items()}
        | {f"prompts.{name}": prompt.origin for name, prompt in prompts.items()},
    )


def config_path(environ: Mapping[str, str]) -> Path:
    """TULU_CONFIG, or config.toml where this platform keeps configuration."""
    if chosen := environ.get("TULU_CONFIG"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("tulu")) / "config.toml"


def read_user_file(environ: Mapping[str, str]) -> Source:
    """The user's own file, which need not be there. Raises BadInput for a broken one."""
    return read_toml(config_path(environ), required=bool(environ.get("TULU_CONFIG")))


def profile_of(user: Source, name: str) -> Mapping[str, Any]:
    """The settings of a profile, as a document of its own. Raises UsageError for none such."""
    profiles = user.values.get("profile", {})
    if name not in profiles:
        there = ", ".join(profiles) or "none yet"
        raise UsageError(f"There is no profile {name!r} in {user.path}: it has {there}.")
    return dict(profiles[name])


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


def key_at(keys: Sequence[str]) -> Key | None:
    """The setting that stands under these keys of a document."""
    return next((key for key in KEYS if key.keys == tuple(keys)), None)


def dotted(keys: Sequence[str]) -> str:
    """Keys as one writes them on one line: sampling.top_p."""
    return ".".join(keys)


def parsed(kind: type, text: str) -> Any:
    """The value that a text is for a setting of this kind; the text itself where it is none."""
    try:
        return kind(text)
    except ValueError:
        return text  # its type is the problem that is then reported


def _named(table: str, parts: Sequence[tuple[Mapping[str, Any], str]]) -> dict[str, Setting]:
    """The texts of a table of names in several documents, the last that has a name winning."""
    return {
        name: Setting(text, origin)
        for document, origin in parts
        for name, text in document.get(table, {}).items()
    }


def entries(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys and the value of each line of a document that is no name of the user's own."""
    for name, value in document.items():
        if name in (*FREE_TABLES, "profile"):
            continue
        if isinstance(value, dict):
            yield from (((name, inner), content) for inner, content in value.items())
        else:
            yield (name,), value
