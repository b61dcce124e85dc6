"""Locks between processes. The kernel drops one when its holder dies, however it dies."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.text import gib


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file, made if need be; where another process does, call `on_wait` and wait."""
    import fcntl

    with _opened(path) as handle:
        if not _taken(handle):
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file if nobody does, and say whether that is so."""
    with _opened(path) as handle:
        yield _taken(handle)


def _opened(path: Path) -> IO[bytes]:
    # Never deleted: a process that waits on a deleted file would hold a lock that nobody sees.
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def _taken(handle: IO[bytes]) -> bool:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_space(directory: Path, needed: int, purpose: str) -> None:
    """Raise TuluError where `directory`, which must exist, has fewer than `needed` bytes free."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TuluError(
            f"{purpose} needs {gib(needed)} of disk and {str(directory)!r} has {gib(free)} free: "
            "make room, or set TULU_CACHE_DIR to another disk."
        )


def folder_size(directory: Path) -> int:
    """Bytes of the files below a directory that may be changing under our eyes."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def sync_tree(directory: Path) -> None:
    """Put every file and folder below, and the directory itself, on the disk for good."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)


def publish(built: Path, finished: Path) -> None:
    """Give a built directory its final name in one step, so that it is there whole or not at all.

    Whatever had that name, which nobody may be using, moves to the place of the built one.
    """
    sync_tree(built)
    if finished.exists():
        os.rename(finished, built.with_name(built.name + ".replaced"))
    os.rename(built, finished)
    _sync(finished.parent)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def decode_utf8(data: bytes, source: str) -> str:
    """The text of `data`; raises BadInput naming the offset (from 0) of the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. "
            "Convert it to UTF-8 first."
        ) from error


def parse_json(text: str, source: str) -> Any:
    """The value of a JSON text; raises BadInput with the line and column of the mistake."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{source} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deeply to be read as JSON.") from error
    except ValueError as error:
        raise BadInput(f"{source} is not valid JSON: {error}.") from error


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, None where there is no such file; raises BadInput."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def read_text(path: Path) -> str | None:
    """The text of a file, None where there is no such file; raises BadInput."""
    data = read_bytes(path)
    return None if data is None else decode_utf8(data, str(path))


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file; raises BadInput."""
    text = read_text(path)
    if text is None:
        return {}
    value = parse_json(text, str(path))
    if not isinstance(value, dict):
        raise BadInput(f"{path} must hold a JSON object.")
    return value
