"""File systems of a test's own, where this process may mount one."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mount(*arguments: str) -> bool:
    """Return whether it could be mounted."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(disk: Path) -> Iterator[bool]:
    """Mount 1 MiB at this new folder meanwhile; False where only root may."""
    disk.mkdir()
    mounted = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", disk], check=True)
