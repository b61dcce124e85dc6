"""Child processes and their groups: ending them, reading their last error, and their files."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


def end_child(child: subprocess.Popen[Any]) -> None:
    """Kill a child and the process group that it leads, at once, and close its pipes.

    A child that has ended already is only reaped. `end_group` is for an engine, which needs time
    to free what it shares; a child here has nothing that outlives it.
    """
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()


def last_line(log: Path) -> str:
    """Return the last line of a log that is marked as an error, else the last with text."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in told if line.startswith("ERROR: ")]
    return (errors or told or ["no reason given"])[-1].rstrip(".")


# The value is the engine's folder. It finds what is left of an engine whose leaders are dead.
MARK = "TULU_WARM_ENGINE"
_PROC = Path("/proc")
_TRACKER_SECONDS = 10.0


def marked(folder: Path) -> Iterator[int]:
    """Yield the processes of the engine in `folder`, but not its supervisor. Linux only."""
    wanted = os.fsencode(f"{MARK}={folder}")
    for entry in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def end_group(leader: int, grace: float) -> None:
    """End all processes of a group: send SIGTERM, and after `grace` seconds SIGKILL.

    Python's trackers are killed last, if at all: they end by themselves, a moment after all that
    they track, and remove the shared memory that the others leave behind.
    """
    if _signal_group(leader, signal.SIGTERM) and not _has_ended(leader, grace):
        for process in _members(leader):
            if not _is_tracker(process):
                _kill(process)
        _has_ended(leader, _TRACKER_SECONDS)
        _signal_group(leader, signal.SIGKILL)


def end_marked(folder: Path) -> None:
    """Kill what is left of the engine in `folder`, but for Python's trackers: see `end_group`."""
    for process in marked(folder):
        if not _is_tracker(process):
            _kill(process)


def descendants(process: int) -> Iterator[int]:
    """Yield the children of a process, and theirs, whichever thread started them. Linux only."""
    for thread in _PROC.glob(f"{process}/task/[0-9]*"):
        with suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from descendants(child)


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process in bytes, 0 if it is gone."""
    try:
        pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def private_folder(kind: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for the sockets and logs of a library's processes, which it would leave behind.

    Other users cannot look into it. Remove those of the same kind of commands that were killed.
    """
    for folder in Path("/tmp").glob(f"tulu-{kind}-*"):  # noqa: S108 (its owner is checked)
        with suppress(OSError, ValueError):
            if folder.lstat().st_uid == os.getuid() and not _lives(int(folder.name.split("-")[2])):
                shutil.rmtree(folder)
    # /tmp, whatever TMPDIR says: a socket's whole path has to fit in 103 bytes.
    return tempfile.TemporaryDirectory(
        prefix=f"tulu-{kind}-{os.getpid()}-", dir="/tmp", ignore_cleanup_errors=True
    )


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_tracker(process: int) -> bool:
    try:
        command = (_PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return False
    return b"multiprocessing.resource_tracker" in command


def _members(leader: int) -> Iterator[int]:
    """Yield the processes of a group. Linux only."""
    for entry in _PROC.glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getpgid(int(entry.name)) == leader:
                yield int(entry.name)


def _has_ended(leader: int, seconds: float) -> bool:
    """Wait up to `seconds` for the last process of a group to end; return True if it has."""
    end = time.monotonic() + seconds
    while _signal_group(leader, 0):
        if time.monotonic() > end:
            return False
        _reap(leader)
        time.sleep(0.01)
    return True


def _kill(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)


def _signal_group(leader: int, number: int) -> bool:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _reap(child: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
