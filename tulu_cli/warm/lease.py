"""Leases: who uses an engine holds its lease, and an engine without one may be unloaded.

A lease is a shared lock on a file. The supervisor takes the same lock alone before it unloads, so
that nobody is given an engine that is about to go.
"""

import os
from contextlib import suppress
from pathlib import Path

from tulu_cli.disk import lock


class Lease:
    """The right to use an engine, until `close` or the end of this process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Give the lease back; its time is when the engine was last used."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.utime(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


def take(folder: Path) -> Lease | None:
    """Return a lease on the engine in `folder`, or None if it is gone or being unloaded."""
    return _locked(folder, shared=True)


def take_alone(folder: Path) -> Lease | None:
    """Return the exclusive lease, or None while a command uses the engine."""
    return _locked(folder, shared=False)


def in_use(folder: Path) -> bool:
    """Return True while a command holds a lease."""
    try:
        locks = Path("/proc/locks").read_text()
        number = (folder / "lease").stat().st_ino
    except OSError:
        return False
    return any(
        line.split()[5].endswith(f":{number}") for line in locks.splitlines() if "->" not in line
    )


def touch(folder: Path) -> None:
    """Record that the engine is being used now."""
    with suppress(OSError):
        os.utime(folder / "lease")


def last_used(folder: Path) -> float | None:
    """Return when a lease was last taken or given back, in seconds of time.time()."""
    try:
        return (folder / "lease").stat().st_mtime
    except OSError:
        return None


def _locked(folder: Path, *, shared: bool) -> Lease | None:
    try:
        descriptor = os.open(folder / "lease", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    # The file may have been removed, with its engine, between the two calls.
    if not lock(descriptor, shared=shared, wait=False) or os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        return None
    lease = Lease(descriptor)
    if shared:
        os.utime(descriptor)
    return lease
