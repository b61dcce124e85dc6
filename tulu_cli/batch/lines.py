"""The input as records, one at a time, however long the file is."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

from tulu_cli.errors import BadInput

LONGEST_LINE = 64 * 2**20  # bytes; a conversation that long fits in no context
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it stands in the input: the line it begins on, from 1, and its JSON.

    `data` is None where that JSON is longer than LONGEST_LINE. `digest` tells records apart: two
    that differ do not share it.
    """

    number: int
    data: bytes | None
    digest: int


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a JSONL input that are not blank. Raise BadInput if it cannot be read."""
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
    csv.field_size_limit(LONGEST_LINE)  # the module's own limit is 131,072 characters
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


def _skip_rest(stream: BinaryIO, piece: bytes) -> int:
    """Read to the end of a line that is too long; its digest is that of the whole."""
    state = blake2b(piece, digest_size=8)
    while piece and not piece.endswith(b"\n"):
        piece = _readline(stream)
        state.update(piece)
    return _number(state.digest())


def _unreadable(error: OSError) -> BadInput:
    return BadInput(f"The input cannot be read: {error.strerror or error}.")
