"""The history of the prompt line: a file of JSON strings, one a line, so that entries stay whole.

Every terminal appends under a lock, so that none loses what another wrote, and each reads the
file anew for every prompt. If a process was killed while writing, only its last line is lost.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tulu_cli.disk import lock, make_private

# Ctrl-R looks through the newest entries: a file of many years must not slow the prompt down.
_NEWEST_BYTES = 4 * 2**20


class InputHistory:
    """Keep the entries in one file, or in memory if `path` is None or the file fails."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._unsaved: list[str] = []

    def newest_first(self) -> list[str]:
        """Return the entries, newest first, without those that only repeat the next one."""
        entries = [*self._unsaved[::-1], *self._read()]
        return [
            entry
            for position, entry in enumerate(entries)
            if not position or entry != entries[position - 1]
        ]

    def add(self, entry: str) -> None:
        """Append an entry, to the file if there is one."""
        line = json.dumps(entry).encode() + b"\n"
        try:
            if self._path is not None and not self._unsaved:
                _append(self._path, line)
                return
        except OSError:  # the store of the sessions, on the same disk, says what is wrong
            pass
        self._unsaved.append(entry)

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _NEWEST_BYTES))
                lines = file.read().splitlines()
        except OSError:
            return []
        return list(_entries(lines[::-1]))


def _entries(lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # torn, or the middle of the first line that was read
            continue
        if isinstance(entry, str):
            yield entry


def _append(path: Path, line: bytes) -> None:
    make_private(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock(descriptor)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        while line:
            line = line[os.write(descriptor, line) :]
    finally:
        os.close(descriptor)
