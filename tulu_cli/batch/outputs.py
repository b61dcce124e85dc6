"""Finished outputs of `tulu batch`: each record by its key and its place in the file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tulu_cli.batch.journal import Key, parsed, read_key
from tulu_cli.disk import lock, reading, refuse_special
from tulu_cli.errors import BadInput, UsageError


class Placed(NamedTuple):
    """A record with its key, the offset at which it begins, and its length in bytes."""

    key: Key
    offset: int
    length: int
    value: dict[str, Any]


class Output:
    """An output that is only read. `is_torn` says that its last line was not finished."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.is_torn = False
        self._file = file

    @property
    def name(self) -> str:
        """Return what sentences call the file."""
        return repr(str(self.path))

    def records(self) -> Iterator[Placed]:
        """Yield each record with its place. Raise BadInput for other lines.

        A last line without an end, as a kill leaves it, is left out.
        """
        offset = 0
        self._file.seek(0)
        with reading(self.name):
            for number, line in enumerate(self._file, 1):
                record = parsed(line)
                key = read_key(record)
                if not line.endswith(b"\n") and key is None:
                    self.is_torn = True
                    return
                if key is None:
                    raise BadInput(f"{self.name}, line {number:,}, is not a record of tulu batch.")
                yield Placed(key, offset, len(line), record)
                offset += len(line)

    def begins_with_record(self) -> bool:
        """Return True if the file is empty, or its first line is a record."""
        with reading(self.name):
            self._file.seek(0)
            first = self._file.readline()
        return not first or read_key(parsed(first)) is not None

    def read(self, offset: int, length: int) -> bytes:
        """Return the line of a record, with its end. Raise BadInput if the file is shorter now."""
        with reading(self.name):
            line = os.pread(self._file.fileno(), length, offset)
        if len(line) < length:
            raise BadInput(f"{self.name} was cut while it was read.")
        return line if line.endswith(b"\n") else line + b"\n"


@contextmanager
def open_output(path: Path, *, alone: bool = False) -> Iterator[Output]:
    """Open an output for reading. Raise BadInput if that cannot be done.

    With `alone`, raise UsageError where a batch is writing it.
    """
    with reading(repr(str(path))):
        refuse_special(path, path.stat())
        file = path.open("rb")
    with file:
        if alone and not lock(file.fileno(), shared=True, wait=False):
            raise UsageError(f"A tulu batch is still writing {str(path)!r}.")
        yield Output(path, file)


def is_output(path: Path) -> bool:
    """Return True for a file that begins with a record of ours, or is empty. Raise BadInput."""
    with open_output(path) as output:
        return output.begins_with_record()
