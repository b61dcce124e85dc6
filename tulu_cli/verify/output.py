"""Where verified rows go: stdout, or a file of whole lines that a later run goes on with."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tulu_cli.disk import lock, writing
from tulu_cli.errors import BadInput, ReaderGone, TuluError, UsageError
from tulu_cli.prompt.inspect.rows import parse_line
from tulu_cli.streams import Streams
from tulu_cli.verify.records import Tally, tally

_SYNC_SECONDS = 1.0


class Sink(Protocol):
    """Takes whole lines. `done` is the number of rows that were written before this run."""

    done: int

    def write(self, lines: str) -> None: ...


class Standard:
    """Writes to stdout."""

    done = 0

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def write(self, lines: str) -> None:
        """Write lines at once. Raise BrokenPipeError if nobody reads them."""
        self._streams.write(lines)


class File:
    """A file that rows are appended to, in the order of the input, locked against other runs.

    What a kill or a full disk leaves of a line is cut off by the run that goes on. `last` is the
    last line that was there before.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.done = 0
        self.last = b""
        self._path = path
        self._descriptor = descriptor
        self._size = 0
        self._synced = time.monotonic()

    def earlier(self) -> Iterator[Tally]:
        """Yield what the file has, and cut off a torn last line. Raise BadInput for other files."""
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                place = f"{str(self._path)!r}, line {number:,}"
                record = parse_line(line, place)
                if not isinstance(record, dict):
                    raise BadInput(f"{place}, is not a row of tulu verify.")
                try:
                    yield tally(record)
                except BadInput as error:
                    raise BadInput(f"{place}: {error}") from error
                self.done, self.last, self._size = number, line, self._size + len(line)
        os.ftruncate(self._descriptor, self._size)

    def write(self, lines: str) -> None:
        """Append lines. Raise TuluError if the disk takes no more: then none of them is there."""
        data = memoryview(lines.encode("utf-8", "replace"))
        length = len(data)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self.sync()
        except BrokenPipeError as error:
            raise ReaderGone(f"The reader of {str(self._path)!r} went away.") from error
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            reason = error.strerror or error
            raise TuluError(f"{str(self._path)!r} cannot be written: {reason}.") from error
        self._size += length

    def sync(self) -> None:
        """Wait until the disk has all lines. Raise OSError."""
        self._synced = time.monotonic()
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.fsync(self._descriptor)


@contextmanager
def opened(name: str, streams: Streams, *, resume: bool, overwrite: bool) -> Iterator[Sink]:
    """Open the output: stdout for "-".

    Raise UsageError for a file that is not empty and that no option allows to be used, for one that
    another run writes, and for a pipe that is to be resumed.
    """
    if name == "-":
        yield Standard(streams)
        return
    path = Path(name)
    with writing(path):
        is_file = not path.exists() or path.is_file() or path.is_dir()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if is_file else os.O_WRONLY
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        if resume and not is_file:
            raise UsageError(f"--resume reads what the output has, and {name!r} is not a file.")
        if is_file and not lock(descriptor, wait=False):
            raise UsageError(f"Another tulu verify is writing {name!r}.")
        if is_file and not resume and os.fstat(descriptor).st_size:
            if not overwrite:
                raise UsageError(
                    f"{name!r} is not empty: --resume goes on with it, --overwrite replaces it."
                )
            os.ftruncate(descriptor, 0)
        file = File(path, descriptor)
        yield file
        with writing(path):
            file.sync()
    finally:
        os.close(descriptor)
