"""What a process may leave on this machine, beside its files: its own, and nobody else's."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

SHARED_MEMORY = "/dev/shm/"


def shared_memory(processes: Iterable[psutil.Process]) -> set[Path]:
    """What these processes share by Python's means, as files that are there while it is in use.

    Stages of vLLM share files of its C++ library too, which it leaves behind when it is killed.
    """
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            paths = (Path(region.path) for region in process.memory_maps())
            found |= {path for path in paths if str(path).startswith(f"{SHARED_MEMORY}psm_")}
    return found
