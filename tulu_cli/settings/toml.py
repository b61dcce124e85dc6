"""A TOML file as it was read: its values, and the line on which each of them stands."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.disk import reading
from tulu_cli.errors import BadInput


@dataclass(frozen=True)
class Source:
    """A file's text and the document in it; both are empty where there is no file."""

    path: Path
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def place(self, keys: Sequence[str]) -> str:
        """The file and the line on which a key of its document begins, for a sentence."""
        return f"{self.path}, line {line_of(self.text, keys)}"


def read_toml(path: Path, *, required: bool = False, most_bytes: int | None = None) -> Source:
    """The file at `path`. Raises BadInput, which says where, for one that cannot be used."""
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
    """The document in the bytes of a file. Raises BadInput with line and column."""
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
    """The line, counted from 1, on which a key of the document begins. Pure.

    No parser of TOML that is at hand tells where a value was. But the first lines of a document
    are one themselves, unless they end within a value; so it is the first line that, with the
    rest of the value that it begins, brings the key.
    """
    lines = text.split("\n")
    return bisect_left(range(len(lines)), 1, key=lambda last: _brings(lines, last, keys)) + 1


def _brings(lines: list[str], last: int, keys: Sequence[str]) -> bool:
    """Whether the key is in the shortest document of the first lines, up to `last` or beyond."""
    import tomli

    for end in range(last + 1, len(lines) + 1):
        try:
            return has(tomli.loads("\n".join(lines[:end])), keys)
        except tomli.TOMLDecodeError:
            continue
    return True


def has(values: Any, keys: Sequence[str]) -> bool:
    """Whether a document has a value, or a table, under these keys."""
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True
