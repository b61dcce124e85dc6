"""Disk space, and writing that survives a crash."""

import os
import shutil
from pathlib import Path

from tulu_cli.errors import TuluError
from tulu_cli.quantities import gib


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
