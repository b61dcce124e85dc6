"""Finished outputs of `tulu batch`: each record by its key and its place in the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tulu_cli.batch.journal import Key, parsed, read_key
from tulu_cli.disk import reading, refuse_special
from tulu_cli.errors import BadInput


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

    def records(self) -> Iterator[tuple[Key, int, Any]]:
        """Yield each record with its key and its offset. Raise BadInput for other lines.

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
                yield key, offset, record
                offset += len(line)

    def line(self, offset: int) -> bytes:
        """Return the line that begins at an offset, with its end. Raise BadInput."""
        with reading(self.name):
            self._file.seek(offset)
            line = self._file.readline()
        return line if line.endswith(b"\n") else line + b"\n"

    def record(self, offset: int) -> Any:
        """Return the record at an offset, None if the file has changed since. Raise BadInput."""
        return parsed(self.line(offset))


@contextmanager
def open_output(path: Path) -> Iterator[Output]:
    """Open an output for reading. Raise BadInput if that cannot be done."""
    with reading(repr(str(path))):
        refuse_special(path, path.stat())
        file = path.open("rb")
    with file:
        yield Output(path, file)
