"""Locks between processes. The kernel drops one when its holder dies, however it dies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
