"""What a process may leave on this machine, beside its files."""

from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


def shared_memory() -> set[Path]:
    """What Python's processes share. (What vLLM's stages do is in files of its own library.)"""
    return set(SHARED_MEMORY.glob("psm_*"))


def unused(paths: set[Path]) -> list[Path]:
    """Those that no process that lives has mapped, or has a socket in."""
    texts = [Path("/proc/net/unix").read_text()]
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            texts.append(maps.read_text())
    return [path for path in paths if not any(str(path) in text for text in texts)]
