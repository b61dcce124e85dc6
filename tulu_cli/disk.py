"""Files of ours: where they are, locks between processes, whole reads and whole writes."""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.text import gib


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's file of settings: TULU_CONFIG, else config.toml in the platform's place."""
    if chosen := environ.get("TULU_CONFIG"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("tulu")) / "config.toml"


def data_root() -> Path:
    """Return the folder of what the user keeps: TULU_DATA_DIR, else the platform's place."""
    if chosen := _absolute(os.environ.get("TULU_DATA_DIR")):
        return chosen
    import platformdirs

    return Path(platformdirs.user_data_dir("tulu"))


def cache_root() -> Path:
    """Return the folder of what can be made again: TULU_CACHE_DIR, else the platform's place."""
    if chosen := _absolute(os.environ.get("TULU_CACHE_DIR")):
        return chosen
    import platformdirs

    return Path(platformdirs.user_cache_dir("tulu"))


def runtime_path() -> Path:
    """Return the folder of the warm engines, which need not exist.

    It is TULU_RUNTIME_DIR, else a folder in XDG_RUNTIME_DIR, else one in /tmp.
    """
    if chosen := _absolute(os.environ.get("TULU_RUNTIME_DIR")):
        return chosen
    if (given := os.environ.get("XDG_RUNTIME_DIR")) and os.path.isdir(given):
        return Path(given) / "tulu"
    # Not TMPDIR, which may be long.
    return Path("/tmp") / f"tulu-{os.getuid()}"  # noqa: S108 (its owner and mode are checked)


def _absolute(chosen: str | None) -> Path | None:
    return Path(os.path.abspath(os.path.expanduser(chosen))) if chosen else None


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their user alone.

    The umask may be open to others, who could put models and settings there.
    """
    if folder.is_dir():
        return
    missing = [folder]
    while not folder.parent.exists():
        folder = folder.parent
        missing.append(folder)
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:  # another process was quicker, or it is no folder
            if not each.is_dir():
                raise


def lock(descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file against other processes until it is closed.

    Return True once it is locked, and False if `wait` is False and another process has a lock that
    excludes this one. The kernel drops a lock when its last holder dies, however it dies.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of a file, created if missing, or of a folder.

    Call `on_wait` before waiting for another process that holds it.
    """
    with _open_lock(path) as descriptor:
        if not lock(descriptor, wait=on_wait is None) and on_wait:
            on_wait()
            lock(descriptor)
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of a file, created if missing; yield False if another process holds it."""
    with _open_lock(path) as descriptor:
        yield lock(descriptor, wait=False)


@contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    # Never deleted: a process that waits on a deleted file would hold a lock that nobody sees.
    make_private(path.parent)
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def reading(name: str | Path, failure: type[TuluError] = BadInput) -> Iterator[None]:
    """Turn an OSError in the block into `failure`: "NAME cannot be read: Permission denied."."""
    try:
        yield
    except OSError as error:
        raise failure(f"{_shown(name)} cannot be read: {error.strerror or error}.") from error


@contextmanager
def writing(name: str | Path) -> Iterator[None]:
    """Turn an OSError in the block into TuluError: "NAME cannot be written: No space left."."""
    try:
        yield
    except OSError as error:
        raise TuluError(f"{_shown(name)} cannot be written: {error.strerror or error}.") from error


def _shown(name: str | Path) -> str:
    return name if isinstance(name, str) else repr(str(name))


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` once the block ends, in one step.

    If the block raises, or the program is killed, `path` is as it was. Its permissions stay; a new
    file gets `mode`. A link stays one, to the file that it names. What is no file, such as a pipe,
    is written to as it is.
    """
    import tempfile

    with suppress(FileNotFoundError):
        found = path.stat().st_mode
        mode = stat.S_IMODE(found)
        if not stat.S_ISREG(found):
            with path.open("wb") as file:
                yield file
            return
    path = Path(os.path.realpath(path))
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def replace_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a whole file in one step: see `replacing`."""
    with replacing(path, mode) as file:
        file.write(data)


def require_space(directory: Path, needed: int, purpose: str, variable: str) -> None:
    """Raise TuluError if `directory`, which must exist, has fewer than `needed` bytes free.

    The sentence says that `purpose` needs them, and offers `variable` to name another disk.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TuluError(
            f"{purpose} needs {gib(needed)} of disk and {str(directory)!r} has {gib(free)} free: "
            f"make room, or set {variable} to another disk."
        )


def folder_size(directory: Path) -> int:
    """Return the bytes of the files below a directory, which may change meanwhile."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def sync_tree(directory: Path) -> None:
    """Wait until the disk has a directory and every file and folder below it."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)


def publish(built: Path, finished: Path) -> None:
    """Rename a complete directory to its final name in one step: it is there whole or not at all.

    A directory that has this name, which nobody may be using, moves beside `built`. The new one
    is open to its user alone.
    """
    os.chmod(built, 0o700)
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
    """Decode UTF-8. Raise BadInput, naming the offset from 0 of the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. "
            "Convert it to UTF-8 first."
        ) from error


def parse_json(text: str, source: str) -> Any:
    """Parse JSON. Raise BadInput, naming the line and column of the mistake."""
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


LARGEST_FILE = 256 * 2**20  # of those read whole: a tokenizer has some 35 MB
_LARGEST_JSON = 64 * 2**20  # the index of the weights of a model of 400 billion is under 1 MB
_DEEPEST = 100  # levels of a config; no file of a model has ten


def read_bytes(path: Path, most: int = LARGEST_FILE) -> bytes | None:
    """Return the bytes of a file, None if it does not exist.

    Raise BadInput if it is unreadable, larger than `most` bytes, a Git LFS pointer, or a named
    pipe, socket or device, of which nobody knows when it ends.
    """
    with reading(str(path)):
        try:
            refuse_special(path, path.stat())
            with path.open("rb") as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            return None
    if len(data) > most:
        raise BadInput(f"{str(path)!r} is larger than {gib(most)}, which no such file should be.")
    refuse_pointer(path, data)
    return data


def refuse_special(path: Path, status: os.stat_result) -> None:
    """Raise BadInput for a named pipe, a socket or a device: to open it may wait for ever."""
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadInput(f"{str(path)!r} is a pipe, a socket or a device: a file is needed there.")


def read_piped(path: Path) -> str | None:
    """Return the UTF-8 text of a file or a pipe that the user names, None if it does not exist.

    Raise BadInput for what cannot be read.
    """
    with reading(str(path)):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    refuse_pointer(path, data)
    return decode_utf8(data, str(path))


# Source: the specification of Git LFS (docs/spec.md). Every pointer begins with this line.
_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: Path, start: bytes | None = None) -> None:
    """Raise BadInput for the lines that a clone without Git LFS has in place of a large file.

    `start` is the beginning of the file, where it has been read.
    """
    if start is None:
        with reading(path), path.open("rb") as file:
            start = file.read(len(_POINTER))
    if start.startswith(_POINTER):
        raise BadInput(
            f"{str(path)!r} is a Git LFS pointer, and not the file itself: install git-lfs, and "
            "run `git lfs pull` in the clone."
        )


def read_text(path: Path) -> str | None:
    """Return the text of a UTF-8 file, None if it does not exist. Raise BadInput otherwise."""
    data = read_bytes(path)
    return None if data is None else decode_utf8(data, str(path))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty if it does not exist. Raise BadInput otherwise."""
    data = read_bytes(path, _LARGEST_JSON)
    if data is None:
        return {}
    value = parse_json(decode_utf8(data, str(path)), str(path))
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _is_deeper(value, _DEEPEST):
        # What is not too deep for this parser may be for what is done with it later.
        raise BadInput(f"{str(path)!r} is nested too deeply to be read as JSON.")
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds a {type(value).__name__}, not a JSON object.")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, (dict, list))
        ]
        level = [each for items in inner for each in items if isinstance(each, (dict, list))]
    return bool(level)
