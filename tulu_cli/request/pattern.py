r"""Patterns as JSON Schema writes them, which are ECMA-262's with Unicode, made into Python's.

Python's `re` knows neither \p{L} nor (?<name>...) nor \u{1F600}. What binds an answer does
(llguidance), so what checks the answer at the end has to know them too.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_SPECIAL = re.compile(
    r"\\(?P<sign>[pP])(?:\{(?P<name>[^{}]*)\}|(?P<letter>[A-Z]))"
    r"|\\u\{(?P<code>[0-9A-Fa-f]{1,6})\}"
    r"|\\.|(?P<open>\[\^?\]?)|(?P<close>\])|\(\?<(?P<group>[A-Za-z_]\w*)>",
    re.DOTALL,
)


class UnknownClassError(Exception):
    """A Unicode class that nothing here knows: what binds the answer may."""


def for_python(pattern: str) -> str:
    """Return a pattern that Python's `re` reads as ECMA-262 reads `pattern`.

    One that `re` compiles is returned as it is. Raise re.error if it is not a regular expression,
    UnknownClassError if only a grammar can say what it matches.
    """
    try:
        re.compile(pattern)
    except re.error:
        translated = _translated(pattern)
        re.compile(translated)
        return translated
    return pattern


def _translated(pattern: str) -> str:
    inside = False

    def replacement(found: re.Match[str]) -> str:
        nonlocal inside
        if found["sign"]:
            name = found["name"] if found["letter"] is None else found["letter"]
            ranges = _ranges(name, found["sign"])
            return ranges if inside else f"[{ranges}]"
        if found["code"]:
            return f"\\U{int(found['code'], 16):08x}"
        if found["group"] and not inside:
            return f"(?P<{found['group']}>"
        if found["open"]:
            inside = True
        elif found["close"]:
            inside = False
        return found[0]

    return _SPECIAL.sub(replacement, pattern)


@lru_cache(maxsize=64)
def _ranges(name: str, sign: str) -> str:
    """Return the characters of a Unicode class, or with the sign P all others, as ranges.

    The `regex` package knows them, which transformers brings.
    """
    try:
        regex: Any = importlib.import_module("regex")
        runs = regex.compile(rf"\{sign}{{{name}}}+")
    except ImportError as error:
        raise UnknownClassError(name) from error
    except Exception as error:  # a class that this package does not know
        raise UnknownClassError(name) from error
    ends = ((run.start(), run.end() - 1) for run in runs.finditer(_every_character()))
    found = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ends)
    if not found:
        raise UnknownClassError(name)
    return found


def _every_character() -> str:
    return "".join(map(chr, range(0x110000)))


# The keywords whose values are schemas by name, and those whose values are data.
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_DATA = ("const", "enum", "default", "examples")


@dataclass(slots=True)
class PythonSchema:
    """A JSON schema whose patterns Python's `re` can read, and what each of them was.

    `unknown` is True if it has a pattern that only a grammar can check, and `has_patterns` if it
    has any.
    """

    document: Any = None
    originals: dict[str, str] = field(default_factory=dict)
    unknown: bool = False
    has_patterns: bool = False

    @classmethod
    def of(cls, schema: Any) -> "PythonSchema":
        """Translate each pattern of a schema. One that is not a regular expression stays."""
        made = cls()
        made.document = made._schema(schema)
        return made

    def in_own_words(self, message: str) -> str:
        """Return a message of jsonschema's with the patterns as the user wrote them."""
        for translated, original in self.originals.items():
            message = message.replace(repr(translated), repr(original))
        return message

    def _schema(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._schema(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        return {key: self._keyword(key, item) for key, item in value.items()}

    def _keyword(self, key: str, value: Any) -> Any:
        if key == "pattern" and isinstance(value, str):
            return self._pattern(value)
        if key in _DATA:
            return value
        if key in _NAMED and isinstance(value, Mapping):
            names = self._pattern if key == "patternProperties" else str
            return {names(name): self._schema(item) for name, item in value.items()}
        return self._schema(value)

    def _pattern(self, pattern: str) -> str:
        self.has_patterns = True
        try:
            translated = for_python(pattern)
        except UnknownClassError:
            self.unknown = True
            return ""  # it matches anywhere
        except (re.error, RecursionError, OverflowError):
            return pattern
        if translated != pattern:
            self.originals[translated] = pattern
        return translated
