"""The settings: their names, which are also the flags', their tables, and their values."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Key(NamedTuple):
    """One setting: its name, its table in the file, and the values that it takes."""

    name: str
    table: str
    kind: type
    wanted: str = ""
    accepts: Callable[[Any], bool] = lambda _value: True

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys under which a document has it."""
        return (self.table, self.name) if self.table else (self.name,)

    def read(self, value: Any) -> Any:
        """Return a value of a document as this setting has it: one text is a list of one."""
        return [value] if self.kind is list and type(value) is str else value

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, None for one that this setting takes."""
        value = self.read(value)
        if type(value) is not self.kind:
            return f"takes {_KINDS[self.kind]}, not {value!r}."
        if not self.accepts(value) or (isinstance(value, float) and not math.isfinite(value)):
            return f"takes {self.wanted}, not {value}."
        return None


def _at_least(least: float) -> Callable[[Any], bool]:
    return lambda value: bool(value >= least)


def _are_texts(value: Any) -> bool:
    return bool(value) and all(isinstance(item, str) and item for item in value)


_KINDS = {str: "a text", int: "a whole number", float: "a number", list: "a list of texts"}
DTYPES = ("auto", "bfloat16", "float16", "float32")
_EDITING_MODES = ("emacs", "vi")

KEYS = (
    Key("model", "", str),
    Key("adapter", "", list, "one or more texts", _are_texts),
    Key("system", "", str),
    Key("max_tokens", "sampling", int, "1 or more", _at_least(1)),
    Key("max_reasoning_tokens", "sampling", int, "0 or more", _at_least(0)),
    Key("temperature", "sampling", float, "0 or more", _at_least(0)),
    Key("top_p", "sampling", float, "over 0 and up to 1", lambda value: 0 < value <= 1),
    Key("top_k", "sampling", int, "0 (off) or more", _at_least(0)),
    Key("min_p", "sampling", float, "from 0 to 1", lambda value: 0 <= value <= 1),
    Key("repetition_penalty", "sampling", float, "over 0", lambda value: value > 0),
    Key("frequency_penalty", "sampling", float, "from -2 to 2", lambda value: -2 <= value <= 2),
    Key("presence_penalty", "sampling", float, "from -2 to 2", lambda value: -2 <= value <= 2),
    Key("seed", "sampling", int, "from 0 to 2^63 - 1", lambda value: 0 <= value < 2**63),
    Key("engine", "engine", str),
    Key("dtype", "engine", str, ", ".join(DTYPES), DTYPES.__contains__),
    Key("quantization", "engine", str),
    Key("draft", "engine", str),
    Key("draft_tokens", "engine", int, "from 1 to 64", lambda value: 1 <= value <= 64),
    Key("tensor_parallel_size", "engine", int, "1 or more", _at_least(1)),
    Key("pipeline_parallel_size", "engine", int, "1 or more", _at_least(1)),
    Key("gpu_memory_utilization", "engine", float, "over 0, up to 1", lambda value: 0 < value <= 1),
    Key("max_model_len", "engine", int, "1 or more", _at_least(1)),
    Key("device", "engine", str),
    Key("editing_mode", "chat", str, " or ".join(_EDITING_MODES), _EDITING_MODES.__contains__),
    Key("keep_alive", "server", str),
    Key("server", "server", list, "one or more texts", _are_texts),
    Key("api_key_env", "server", str),
    Key("in_flight", "server", int, "from 1 to 4096", lambda value: 1 <= value <= 4096),
)
FREE_TABLES = ("alias", "prompts")
PROJECT_FILE = Path(".tulu.toml")


def key_at(keys: Sequence[str]) -> Key | None:
    """Return the setting under these keys of a document, None if there is none."""
    return next((key for key in KEYS if key.keys == tuple(keys)), None)


def dotted(keys: Sequence[str]) -> str:
    """Join keys as they are written on one line: sampling.top_p."""
    return ".".join(keys)


def parsed(kind: type, text: str) -> Any:
    """Convert a text to a setting's kind; return the text itself if that fails.

    The items of a list have commas between them.
    """
    if kind is list:
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return kind(text)
    except ValueError:
        return text  # its type is the problem that is then reported


def entries(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys and the value of each setting of a document: not its aliases and prompts."""
    for name, value in document.items():
        if name in (*FREE_TABLES, "profile"):
            continue
        if isinstance(value, dict):
            yield from (((name, inner), content) for inner, content in value.items())
        else:
            yield (name,), value
