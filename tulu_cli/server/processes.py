"""The processes of a warm engine: all of one group, and all with its mark in their environment."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# The value is the engine's folder. It finds what is left of an engine whose leaders are dead.
MARK = "TULU_WARM_ENGINE"
_PROC = Path("/proc")


def marked(folder: Path) -> Iterator[int]:
    """The processes of the engine in `folder`, the supervisor aside. Linux only: none elsewhere."""
    wanted = os.fsencode(f"{MARK}={folder}")
    for entry in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def end_group(leader: int, grace: float) -> None:
    """End all processes of a group: asked to first, after `grace` seconds without asking."""
    if _signal_group(leader, signal.SIGTERM):
        end = time.monotonic() + grace
        while _signal_group(leader, 0) and time.monotonic() < end:
            _reap(leader)
            time.sleep(0.01)
        _signal_group(leader, signal.SIGKILL)


def end_marked(folder: Path) -> None:
    """Kill whatever is left of the engine in `folder`.

    Python's trackers are left to end by themselves, a moment after all that they track: they remove
    the shared memory that the others leave behind.
    """
    for process in marked(folder):
        with suppress(ProcessLookupError, PermissionError):
            if not _is_tracker(process):
                os.kill(process, signal.SIGKILL)


def resident_bytes(process: int) -> int:
    """The memory of a process that is its own or shared, in bytes; 0 where it is gone."""
    try:
        pages = int((_PROC / str(process) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _is_tracker(process: int) -> bool:
    try:
        command = (_PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return False
    return b"multiprocessing.resource_tracker" in command


def _signal_group(leader: int, number: int) -> bool:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _reap(child: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
