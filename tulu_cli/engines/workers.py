"""Worker processes that an engine forks: they die with their parent, and talk into a file."""

import ctypes
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_ERROR = re.compile(r"^(?:\([^)]*\) )?(?:\S+ )*?([A-Za-z_.]*(?:Error|Exception): .+)$")
# What a process says when another one, whose reason stands above it, has failed.
_SECOND_HAND = ("initialization failed", "EngineDeadError", "cancelled")
_TAIL = 65536
_callback: "WorkerLog | None" = None
_registered = False


class WorkerLog:
    """A file without a name that holds what the workers print; gone when it is closed."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="tulu-worker-")  # noqa: SIM115
        self.owner = os.getpid()

    def take_output(self) -> None:
        """Send this process's stdout and stderr into the file."""
        for descriptor in (1, 2):
            os.dup2(self._file.fileno(), descriptor)

    def last_error(self) -> str | None:
        """What `last_error` finds at the end of the log."""
        if self._file.closed:
            return None
        size = os.fstat(self._file.fileno()).st_size
        return last_error(os.pread(self._file.fileno(), _TAIL, max(0, size - _TAIL)))

    def close(self) -> None:
        """Forget the log."""
        self._file.close()


def last_error(tail: bytes) -> str | None:
    """The last line of a log that names an exception and its own reason, without its prefix."""
    lines = tail.decode("utf-8", errors="replace").splitlines()
    found = [match.group(1) for line in reversed(lines) if (match := _ERROR.match(line))]
    first_hand = (line for line in found if not any(sign in line for sign in _SECOND_HAND))
    return next(iter((*first_hand, *found)), "").rstrip(".") or None


def last_error_of(log: Path) -> str | None:
    """The same of a log that is a file; None where there is none."""
    try:
        return last_error(log.read_bytes()[-_TAIL:])
    except OSError:
        return None


def end_with(parent: int, number: int) -> None:
    """Get signal `number` when `parent`, which has started this process, ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


@contextmanager
def die_with_parent(log: WorkerLog) -> Iterator[None]:
    """Processes that are forked in here get SIGKILL when the forking thread ends, however it ends.

    They also leave our process group, so that a Ctrl-C in the terminal is ours alone, and write
    into `log`.
    """
    global _callback, _registered
    if not _registered:
        os.register_at_fork(after_in_child=_in_child)
        _registered = True
    _callback = log
    try:
        yield
    finally:
        _callback = None


def _in_child() -> None:
    log = _callback
    if log is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != log.owner:
        return  # a worker's worker: it has the group and the log already
    os.setpgid(0, 0)
    log.take_output()
    logging.disable(logging.NOTSET)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """What a library prints while it loads goes to stderr: on stdout it would be an answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
