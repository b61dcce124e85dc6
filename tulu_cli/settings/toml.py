"""A TOML file as it was read: its values, and the line of each."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.disk import reading
from tulu_cli.errors import BadInput


@dataclass(frozen=True)
class Source:
    """A file's text and the document in it; both are empty if the file does not exist."""

    path: Path
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def place(self, keys: Sequence[str]) -> str:
        """Return the file and the line of a key, for a sentence."""
        return f"{self.path}, line {line_of(self.text, keys)}"


def read_toml(path: Path, *, required: bool = False, most_bytes: int | None = None) -> Source:
    """Read a file. Raise BadInput, with the place of the mistake, if it cannot be used."""
    with reading(str(path)):
        try:
            with path.open("rb") as file:
                data = file.read(-1 if most_bytes is None else most_bytes + 1)
        except FileNotFoundError as error:
            if required:
                raise BadInput(f"{path} (from TULU_CONFIG) does not exist.") from error
            return Source(path)
    if most_bytes is not None and len(data) > most_bytes:
        raise BadInput(f"{path} is not a file of settings: it has over {most_bytes:,} bytes.")
    return parse(path, data)


def parse(path: Path, data: bytes) -> Source:
    """Parse the bytes of a file. Raise BadInput with line and column."""
    import tomli

    try:
        text = data.decode("utf-8")
        return Source(path, text, tomli.loads(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path} is not UTF-8: byte {error.start}, on line {line}, is wrong."
        ) from error
    except tomli.TOMLDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{path} is not TOML: {error.msg} ({place}).") from error
    except RecursionError as error:
        raise BadInput(f"{path} is not TOML that can be read: it is nested too deep.") from error


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line, counted from 1, on which a key of the document begins. Pure.

    No parser of TOML at our disposal reports where a value was. But the first lines of a document
    are a document themselves, unless they end within a value: the line of a key is the first one
    that, together with the rest of its value, adds the key.
    """
    lines = text.split("\n")
    return bisect_left(range(len(lines)), 1, key=lambda last: _brings(lines, last, keys)) + 1


def _brings(lines: list[str], last: int, keys: Sequence[str]) -> bool:
    """Return True if the shortest document of the first lines beyond `last` has the key."""
    import tomli

    for end in range(last + 1, len(lines) + 1):
        try:
            return has(tomli.loads("\n".join(lines[:end])), keys)
        except tomli.TOMLDecodeError:
            continue
    return True


def has(values: Any, keys: Sequence[str]) -> bool:
    """Return True if a document has a value or a table under these keys."""
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
