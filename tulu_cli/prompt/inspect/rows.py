"""Conversations out of files of any size: JSON lines one by one, or one JSON document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from tulu_cli.disk import decode_utf8, parse_json
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.formats import (
    DEEPEST,
    Row,
    parts,
    read_row,
    recognise,
    refuse_unusable,
)

CHUNK_BYTES = 2**18
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines of a file; `first` is the number of the first one, from 1.

    `unit` is what a line is to the user: of an array in one document, each is a conversation.
    """

    source: str
    first: int
    lines: list[bytes]
    unit: str = "line"

    def rows(self, name: str = "auto") -> Iterator[tuple[int, Row]]:
        """Yield each conversation with the number of its line; blank lines are none."""
        for number, line in enumerate(self.lines, self.first):
            if line.strip():
                source = self.place(number)
                yield number, read_row(parse_line(line, source), source, name)

    def place(self, number: int) -> str:
        """Return how errors call a line."""
        return f"{self.source}, {self.unit} {number:,}" if self.unit else self.source


def read_chunks(file: BinaryIO, source: str) -> Iterator[Chunk]:
    """Yield the lines of a JSON Lines file in chunks, in constant memory. Raise BadInput.

    A file that is one JSON document over several lines, a conversation or an array of them, is
    read whole, and given as if each conversation had a line.
    """
    first, head = _first_line(file)
    if not head:
        raise BadInput(f"{source} is empty: a conversation as JSON is expected.")
    whole = _document(head, file, source)
    if whole is not None:
        unit = "conversation" if len(whole) > 1 else ""
        yield Chunk(source, 1, [_encode(value, source) for value in whole], unit)
        return
    for lines in chain([[head]], as_they_come(file)):
        yield Chunk(source, first, lines)
        first += len(lines)


def as_they_come(file: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[list[bytes]]:
    """Yield the lines of a file, as many at a time as come without waiting, in `size` bytes."""
    read = getattr(file, "read1", file.read)
    begun: list[bytes] = []
    while data := read(size):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            yield b"".join((*begun, whole)).split(b"\n")
            begun = []
        begun.append(rest)
    if last := b"".join(begun):
        yield [last]


def _first_line(file: BinaryIO) -> tuple[int, bytes]:
    for number, line in enumerate(file, 1):
        line = line.removeprefix(_BOM) if number == 1 else line
        if line and not line.isspace():
            return number, line
    return 1, b""


def _document(head: bytes, file: BinaryIO, source: str) -> list[Any] | None:
    """Return the conversations of a file that is one document, or None for lines."""
    try:
        value = json.loads(head)
    except RecursionError:
        return None
    except ValueError as error:
        if getattr(error, "pos", 0) < len(head.rstrip()):
            return None  # a mistake in a line, not a document that goes on in the next
        value = parse_line(head + file.read(), source)
        return value if _is_list_of_rows(value) else [value]
    if not _is_list_of_rows(value):
        return None
    if next((line for line in file if line.strip()), None) is not None:
        raise BadInput(f"{source} goes on behind an array of conversations: give each one a line.")
    return list(value)


def _is_list_of_rows(value: Any) -> bool:
    """Return True if an array holds conversations, and not the messages of one."""
    first = value[0] if isinstance(value, list) and value else None
    return recognise(first) is not None and not (isinstance(first, dict) and "role" in first)


def _encode(value: Any, source: str) -> bytes:
    try:
        return json.dumps(value).encode()
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deeply.") from error


def is_suspicious(line: bytes) -> bool:
    """Return True if a line may hold a lone surrogate, or be nested too deeply."""
    halves = b"\\u" in line and (b"\\ud" in line or b"\\uD" in line)
    return halves or line.count(b"[") + line.count(b"{") > DEEPEST


def parse_line(line: bytes, source: str) -> Any:
    """Return the JSON value of one line. Raise BadInput, also for texts that are not Unicode."""
    text = decode_utf8(line, source)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if "\n" not in text.strip():
            raise BadInput(
                f"{source} is not valid JSON: column {error.colno}: {error.msg}."
            ) from error
        value = parse_json(text, source)
    except (RecursionError, ValueError):
        value = parse_json(text, source)
    if is_suspicious(line):
        for path, item in parts("", value):
            refuse_unusable(item, source, path.lstrip("."))
    return value
