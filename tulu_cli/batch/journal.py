"""The output file: whole lines only, each row once, whatever ends the program.

A record is appended with one write, and the file is synced at intervals, so a kill loses nothing
that was written and a power cut at most the last second. What a kill or a full disk leaves of a
line is cut off by the next run.

A file that another program deletes, moves, replaces or cuts meanwhile ends the batch, and its
answers are kept where that can be. A pipe or a device is only written to.
"""

import json
import os
import re
import stat
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any
from weakref import WeakSet

from tulu_cli.batch.shards import Shard
from tulu_cli.disk import lock, replacing
from tulu_cli.errors import BadInput, ReaderGone, TuluError, UsageError

SYNC_SECONDS = 1.0
_KEY = re.compile(r"(?:tulu-)?(\d{1,10})-([0-9a-f]{16})-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Key:
    """What a record answers: the line of a row, a hash of the row, and one of the settings."""

    line: int
    row: int
    settings: int

    def __str__(self) -> str:
        return f"{self.line}-{self.row:016x}-{self.settings:016x}"


def read_key(record: Any) -> Key | None:
    """Return what a record of ours has under `key`, or under `id` in OpenAI's format."""
    value = record.get("key", record.get("id")) if isinstance(record, dict) else None
    match = _KEY.fullmatch(value) if isinstance(value, str) else None
    return None if match is None else Key(int(match[1]), int(match[2], 16), int(match[3], 16))


def name_of(record: Any) -> str | None:
    """Return the id of the row that a record of ours answers, None if it has none."""
    name = record.get("custom_id" if "custom_id" in record else "id")
    return name if isinstance(name, str) else None


class Journal:
    """An output file that is being written. It is locked: no other batch can write it too."""

    def __init__(
        self, path: Path, descriptor: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.finished = 0
        self._path = path
        self._descriptor = descriptor
        self._clock = clock
        self._synced = clock()
        status = os.fstat(descriptor)
        self._size = status.st_size
        self._is_file = stat.S_ISREG(status.st_mode)
        self._is_lost = False
        self._rows = array("Q")  # the hash of each finished row, by its line; 0 is none

    @property
    def can_be_resumed(self) -> bool:
        """Return True for a file that is still there to be read again."""
        return self._is_file and not self._is_lost

    def has(self, line: int, row: int) -> bool:
        """Return True if that row is answered. Raise BadInput if its line held another row."""
        known = self._rows[line] if line < len(self._rows) else 0
        if known not in (0, row):
            raise BadInput(
                f"Line {line:,} of the input is not the one that {str(self._path)!r} answers: "
                "--resume needs the same input, --overwrite starts again."
            )
        return known != 0

    def write(self, record: str) -> None:
        """Append a record, one line.

        Raise TuluError if the disk takes no more, or the file is not what it was; ReaderGone if
        nobody reads the pipe.
        """
        data = f"{record}\n".encode("utf-8", "replace")
        self._check_file()
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except BrokenPipeError as error:
            raise ReaderGone(f"The reader of {str(self._path)!r} went away.") from error
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise _failed(self._path, error) from error
        self._size += len(data)
        if self._clock() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has it all. Raise TuluError if it has not, or not under the path."""
        self._synced = self._clock()
        if not self._is_file:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _failed(self._path, error) from error
        self._check_file()
        self._check_path()

    def close(self) -> None:
        """Sync, and let others write the file. Raise TuluError as `sync` does."""
        try:
            if not self._is_lost:
                self.sync()
        finally:
            self.let_go()

    def _check_file(self) -> None:
        """Raise TuluError if the file has no name any more, or less than was written to it."""
        status = os.fstat(self._descriptor)
        if not self._is_file or (status.st_nlink and status.st_size >= self._size):
            return
        was = f"{str(self._path)!r} was"
        if status.st_size < self._size:
            raise TuluError(
                f"{was} cut by another program, from {self._size:,} to {status.st_size:,} bytes: "
                "--resume answers again what is missing."
            )
        self._is_lost = True
        kept = self._rescue()
        where = "the answers could not be kept" if kept is None else f"the answers are in {kept!r}"
        what = "deleted" if kept == str(self._path) else "deleted or replaced"
        raise TuluError(f"{was} {what} by another program; {where}.")

    def _check_path(self) -> None:
        """Raise TuluError if the path is not that of the file any more."""
        with suppress(OSError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._descriptor)):
                return
        self._is_lost = True
        with suppress(OSError):
            now = os.readlink(f"/proc/self/fd/{self._descriptor}")
            raise TuluError(
                f"{str(self._path)!r} was moved by another program; the answers are in {now!r}."
            )
        raise TuluError(f"{str(self._path)!r} was moved by another program, with the answers.")

    def _rescue(self) -> str | None:
        """Copy a file without a name to its path, or beside it, and return where it is."""
        with suppress(OSError), open(self._descriptor, "rb", closefd=False) as old:
            for end in ("", *(f".rescued-{number}" for number in range(1, 100))):
                place = self._path.with_name(self._path.name + end)
                with suppress(FileExistsError), place.open("xb") as new:
                    old.seek(0)
                    copyfileobj(old, new)
                    return str(place)
        return None

    def let_go(self) -> None:
        """Close the file as it is: the lock is over once no process has it open."""
        _being_written.discard(self)
        os.close(self._descriptor)

    def take_up(self, settings: int, shard: Shard | None = None) -> None:
        """Read what is finished, and cut off a torn last line. Raises UsageError, BadInput."""
        for key, record in self._records():
            if shard is not None and not shard.has(name_of(record), key.row):
                raise UsageError(
                    f"{str(self._path)!r} has rows of another shard than {shard}: give each shard "
                    "an output of its own."
                )
            if key.settings != settings:
                raise UsageError(
                    f"{str(self._path)!r} was begun with other settings (their hash was "
                    f"{key.settings:016x}, it is {settings:016x} now): give the same model, "
                    "sampling and prompt options, or --overwrite to start again."
                )
            missing = key.line + 1 - len(self._rows)
            self._rows.extend([0] * missing)
            self.finished += self._rows[key.line] == 0
            self._rows[key.line] = key.row

    def _records(self) -> Iterator[tuple[Key, Any]]:
        whole = 0
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            for number, line in enumerate(file, 1):
                record = parsed(line)
                key = read_key(record)
                if key is None and (file.peek(1) or line.endswith(b"\n")):
                    raise BadInput(
                        f"{str(self._path)!r}, line {number:,}, is not a record of tulu batch: "
                        "--resume takes up its own output only."
                    )
                if key is None or not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield key, record
        self._size = whole
        os.ftruncate(self._descriptor, whole)


_being_written: WeakSet[Journal] = WeakSet()


def _let_go_in_child() -> None:
    """Release the lock in a forked child: the worker of vLLM outlives a kill -9."""
    for journal in list(_being_written):
        journal.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)


def open_journal(
    path: Path, settings: int, *, resume: bool, overwrite: bool, shard: Shard | None = None
) -> Journal:
    """Open the journal at `path`, and create it if needed. It may be that of one `shard`.

    Raise UsageError for an output that is not empty and that no option allows to be used, for one
    that another batch is writing, and for a pipe that is to be resumed; BadInput if it is not an
    output of ours; TuluError if the disk fails.
    """
    is_file = _is_file(path)
    if resume and not is_file:
        raise _not_a_file(path)
    # Who opens a pipe for reading too waits for its reader without end, being one himself.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if is_file else os.O_WRONLY
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _failed(path, error) from error
    try:
        if is_file:
            _lock(descriptor, path)
        if overwrite and is_file:
            os.ftruncate(descriptor, 0)
        journal = Journal(path, descriptor)
        if resume:
            journal.take_up(settings, shard)
        elif is_file and os.fstat(descriptor).st_size:
            raise UsageError(
                f"{str(path)!r} is not empty: --resume goes on with it, --overwrite replaces it."
            )
    except OSError as error:
        os.close(descriptor)
        raise _failed(path, error) from error
    except BaseException:
        os.close(descriptor)
        raise
    _being_written.add(journal)
    return journal


def drop_errors(path: Path) -> int:
    """Take the error records out of a finished output, so that a resume tries their rows again.

    Returns how many there were. The file is replaced in one step, so a kill leaves either one.
    """
    dropped = 0
    if not _is_file(path):
        raise _not_a_file(path)
    try:
        with path.open("rb") as old, replacing(path) as new:
            _lock(old.fileno(), path)
            for line in old:
                record = parsed(line)
                if isinstance(record, dict) and record.get("error") and read_key(record):
                    dropped += 1
                else:
                    new.write(line)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise _failed(path, error) from error
    return dropped


def parsed(line: bytes) -> Any:
    """Return the JSON of a line, None if it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lock(descriptor: int, path: Path) -> None:
    if not lock(descriptor, wait=False):
        raise UsageError(f"Another tulu batch is writing {str(path)!r}.")


def _is_file(path: Path) -> bool:
    """Return False for a pipe, a device or a socket, and True for what can become a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _not_a_file(path: Path) -> UsageError:
    return UsageError(f"--resume reads what the output has, and {str(path)!r} is not a file.")


def _failed(path: Path, error: OSError) -> TuluError:
    return TuluError(f"{str(path)!r} cannot be written: {error.strerror or error}.")
