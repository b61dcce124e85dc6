"""The header of a GGUF file: enough to refuse a bad one early and to know what it will need.

It is read here, and not with the gguf package, so that a plain mistake costs no heavy import.
"""

import mmap
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from tulu_cli.errors import BadInput

_SCALARS = "BbHhIif?"  # GGUF's value types 0 to 7; then 8 string, 9 array, 10 to 12:
_FORMATS = dict(enumerate(_SCALARS)) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """`values` are the single metadata values, `counts` the lengths of the arrays.

    The arrays themselves, such as the vocabulary, are left out. `parameters` is the number of
    weights in the file.
    """

    values: dict[str, Scalar]
    parameters: int
    counts: dict[str, int] = field(default_factory=dict)


def read_header(path: Path) -> GgufHeader:
    """Read a header. Raises BadInput for what is no GGUF file, is cut short, or is one of parts."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise BadInput(f"{str(path)!r} is not a GGUF file: it does not begin with 'GGUF'.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _checked(path, _Cursor(data))
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    if int(header.values.get("split.count", 1)) > 1:
        raise BadInput(f"{str(path)!r} is one part of several: merge them into one file first.")
    return header


def _checked(path: Path, cursor: "_Cursor") -> GgufHeader:
    try:
        return _header(cursor)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadInput(
            f"{str(path)!r} is cut short or damaged: its header cannot be read beyond byte "
            f"{cursor.offset} of {len(cursor.data)}. Fetch the file again."
        ) from error
    except _UnreadableError as error:
        raise BadInput(f"{str(path)!r} {error} (at byte {cursor.offset}).") from error


class _UnreadableError(Exception):
    """The rest of a sentence about the file."""


@dataclass
class _Cursor:
    data: mmap.mmap
    offset: int = 4
    formats: dict[str, struct.Struct] = field(default_factory=dict)

    def take(self, letters: str) -> int:
        layout = self.formats.setdefault(letters, struct.Struct("<" + letters))
        (value,) = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return value  # type: ignore[no-any-return]

    def skip(self, size: int) -> None:
        if self.offset + size > len(self.data):
            raise struct.error
        self.offset += size

    def string(self) -> str:
        start = self.offset + 8
        self.skip_string()
        return self.data[start : self.offset].decode()

    def skip_string(self) -> None:
        self.skip(self.take("Q"))


def _header(cursor: _Cursor) -> GgufHeader:
    version = cursor.take("I")
    if version not in _VERSIONS:
        raise _UnreadableError("has a GGUF version that is not 2 or 3")
    tensors, pairs = cursor.take("Q"), cursor.take("Q")
    values: dict[str, Scalar] = {}
    counts: dict[str, int] = {}
    for _ in range(pairs):
        key, kind = cursor.string(), cursor.take("I")
        if kind == _ARRAY:
            counts[key] = _skip_array(cursor)
        else:
            values[key] = _scalar(cursor, kind)
    return GgufHeader(values, sum(_tensor(cursor) for _ in range(tensors)), counts)


def _scalar(cursor: _Cursor, kind: int) -> Scalar:
    return cursor.string() if kind == _STRING else cursor.take(_format(kind))


def _skip_array(cursor: _Cursor) -> int:
    """Pass over an array; returns how long it is."""
    kind, count = cursor.take("I"), cursor.take("Q")
    if kind != _STRING:
        cursor.skip(count * struct.calcsize("<" + _format(kind)))
        return count
    for _ in range(count):
        cursor.skip_string()
    return count


def _tensor(cursor: _Cursor) -> int:
    """The number of weights of the next tensor, after its name; its type and place are skipped."""
    cursor.skip_string()
    size = prod(cursor.take("Q") for _ in range(cursor.take("I")))
    cursor.skip(4 + 8)
    return size


def _format(kind: int) -> str:
    if kind not in _FORMATS:
        raise _UnreadableError(f"has a metadata value of unknown type {kind}")
    return _FORMATS[kind]
