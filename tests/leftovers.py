"""What a process may leave on this machine, beside its files: its own, and nobody else's."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

SHARED_MEMORY = "/dev/shm/"


def shared_memory(processes: Iterable[psutil.Process]) -> set[Path]:
    """What these processes share, as files that are there while it is in use or longer."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            paths = (region.path for region in process.memory_maps())
            found |= {Path(path) for path in paths if path.startswith(SHARED_MEMORY)}
    return found
