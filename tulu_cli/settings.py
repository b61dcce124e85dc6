"""Settings: flags over the environment over the config file over the model over our defaults."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput, UsageError


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its name, which is its flag's too, its table in the file, and what it takes."""

    name: str
    table: str
    kind: type
    wanted: str = ""
    accepts: Callable[[Any], bool] = lambda _value: True

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
_FREE_TABLES = ("alias", "prompts")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from: "flag", "TULU_TOP_P", or the file's path."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """The merged settings; a name that nobody set is absent. Aliases and prompts are by name."""

    values: Mapping[str, Setting] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)

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


def read_settings(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this run. Raises UsageError for a value, BadInput for a broken file."""
    path = config_path(environ)
    document = read_file(path, required=bool(environ.get("TULU_CONFIG")))
    layers = (from_flags(flags), from_environment(environ), from_document(document, str(path)))
    return Settings(
        merge(layers), _texts(document, "alias", path), _texts(document, "prompts", path)
    )


def config_path(environ: Mapping[str, str]) -> Path:
    """TULU_CONFIG, or config.toml where this platform keeps configuration."""
    if chosen := environ.get("TULU_CONFIG"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("tulu")) / "config.toml"


def read_file(path: Path, *, required: bool = False) -> dict[str, Any]:
    """The TOML document, empty where there is no file. Raises BadInput, which says where."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        if required:
            raise BadInput(f"{path} (from TULU_CONFIG) does not exist.") from error
        return {}
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8: byte {error.start} is wrong.") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    import tomli

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise BadInput(f"{path} is not TOML: {error}.") from error


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
    """The settings of a config file's document. Raises BadInput for what does not belong there."""
    found = {}
    for table, name, value in _entries(document):
        key = next((key for key in KEYS if (key.table, key.name) == (table, name)), None)
        if key is None:
            raise BadInput(f"{origin} has an unknown key {_dotted(table, name)}.{_near(name)}")
        if key.kind is float and type(value) is int:
            value = float(value)
        if problem := key.problem(value):
            raise BadInput(f"{origin}: {_dotted(table, name)} {problem}")
        found[name] = Setting(value, origin)
    return found


def parsed(kind: type, text: str) -> Any:
    """The value that a text is for a setting of this kind; the text itself where it is none."""
    try:
        return kind(text)
    except ValueError:
        return text  # its type is the problem that is then reported


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, value in document.items():
        if name in _FREE_TABLES:
            continue
        if isinstance(value, dict):
            yield from ((name, inner, content) for inner, content in value.items())
        else:
            yield "", name, value


def _texts(document: Mapping[str, Any], table: str, path: Path) -> dict[str, str]:
    texts = document.get(table, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise BadInput(f"{path}: [{table}] takes names with texts.")
    return texts


def _dotted(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [key.name for key in KEYS], 1)
    key = next((key for key in KEYS if near and key.name == near[0]), None)
    return f" Is {_dotted(key.table, key.name)} meant?" if key else ""
