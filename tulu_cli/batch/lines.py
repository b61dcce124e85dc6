"""The input as records, one at a time, however long the file is."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any, BinaryIO

from tulu_cli.disk import decode_utf8, parse_json
from tulu_cli.errors import BadInput

LONGEST_LINE = 64 * 2**20  # bytes; a conversation that long fits in no context
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it stands in the input: the line it begins on, from 1, and its JSON.

    Where the input is one JSON document, `unit` is "item", and the number is its place in there.

    `data` is None where that JSON is longer than LONGEST_LINE. `digest` tells records apart: two
    that differ do not share it.
    """

    number: int
    data: bytes | None
    digest: int
    unit: str = "line"

    @property
    def place(self) -> str:
        """Return how errors call the record."""
        return f"{self.unit} {self.number:,}"


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a JSONL input that are not blank, in constant memory. Raise BadInput.

    An input that is one JSON document, an array of records or a single one over several lines, is
    read whole, and each of its records is given as if it had a line.
    """
    lines = _nonblank(stream)
    first = next(lines, None)
    if first is None:
        return
    if first.data is not None and first.data.startswith((b"[", b"{")):
        yield from _document(first, lines, stream) or chain((first,), lines)
        return
    yield first
    yield from lines


def _document(first: Line, lines: Iterator[Line], stream: BinaryIO) -> Iterator[Line] | None:
    """Return the records of an input that is one document, or those of the lines; or None."""
    head = first.data or b""
    try:
        value = json.loads(head)
    except RecursionError:
        return None
    except ValueError as error:
        # A document has line ends between its values; a line that ends elsewhere is torn.
        goes_on = getattr(error, "pos", 0) >= len(head.decode(errors="replace"))
        begins = head == b"{" or (head.startswith(b"[") and head.endswith((b"[", b"{", b",")))
        if not goes_on or not begins:
            return None
        whole = b"\n" * (first.number - 1) + head + b"\n" + _read_rest(stream)
        value = parse_json(decode_utf8(whole, "The input"), "The input")
        return _items(value if is_list_of_records(value) else [value])
    if not is_list_of_records(value):
        return None
    second = next(lines, None)
    return _items(value) if second is None else chain((first, second), lines)


def is_list_of_records(value: Any) -> bool:
    """Return True for an array of records, and False for one of messages, which is a record."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return isinstance(first, list) or (isinstance(first, dict) and "role" not in first)


def _items(values: list[Any]) -> Iterator[Line]:
    for number, value in enumerate(values, 1):
        try:
            data = json.dumps(value).encode()
        except RecursionError as error:
            raise BadInput(f"item {number:,} is nested too deeply.") from error
        yield Line(number, data if len(data) <= LONGEST_LINE else None, digest(data), "item")


def _nonblank(stream: BinaryIO) -> Iterator[Line]:
    number = 0
    while piece := _readline(stream):
        number += 1
        if len(piece) > LONGEST_LINE and not piece.endswith(b"\n"):
            yield Line(number, None, _skip_rest(stream, piece))
            continue
        data = piece.removeprefix(_BOM).strip() if number == 1 else piece.strip()
        if data:
            yield Line(number, data, digest(data))


def read_csv(stream: BinaryIO, source: str) -> Iterator[Line]:
    """Yield the rows of a CSV file with a header, each as a JSON object. Raise BadInput.

    A row with more or fewer cells than the header becomes an array, which is not a prompt.
    """
    # The module's own limit, which is one for the whole process, is 131,072 characters.
    before = csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    begin = 1  # a quoted cell may hold line ends: a row's line is the one that it begins on
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise BadInput(f"{source} names a column twice in its header.")
        begin = reader.line_num + 1
        for cells in reader:
            if cells:
                data = json.dumps(_row(header, cells), ensure_ascii=False).encode()
                kept = data if len(data) <= LONGEST_LINE else None
                yield Line(begin, kept, digest(data))
            begin = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise BadInput(f"{source} is not UTF-8 from line {begin} on: {error.reason}.") from error
    except csv.Error as error:
        place = f"{source}, line {begin:,},"
        if "field limit" in str(error):
            most = f"more than {LONGEST_LINE:,} characters"
            raise BadInput(f"{place} has a cell of {most}: is its quote closed?") from error
        raise BadInput(f"{place} is not CSV: {error}.") from error
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        csv.field_size_limit(before)
        text.detach()


def digest(data: bytes) -> int:
    """Eight bytes of a hash, as a number over 0."""
    return _number(blake2b(data, digest_size=8).digest())


def _row(header: list[str], cells: list[str]) -> dict[str, str] | list[str]:
    return dict(zip(header, cells, strict=True)) if len(header) == len(cells) else cells


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed) or 1


def _readline(stream: BinaryIO) -> bytes:
    try:
        return stream.readline(LONGEST_LINE + 1)
    except OSError as error:
        raise _unreadable(error) from error


def _read_rest(stream: BinaryIO) -> bytes:
    try:
        return stream.read()
    except OSError as error:
        raise _unreadable(error) from error


def _skip_rest(stream: BinaryIO, piece: bytes) -> int:
    """Read to the end of a line that is too long; its digest is that of the whole."""
    state = blake2b(piece, digest_size=8)
    while piece and not piece.endswith(b"\n"):
        piece = _readline(stream)
        state.update(piece)
    return _number(state.digest())


def _unreadable(error: OSError) -> BadInput:
    return BadInput(f"The input cannot be read: {error.strerror or error}.")
