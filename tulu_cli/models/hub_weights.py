"""Large files of the Hub, of which no byte is fetched twice.

The Hub's library throws away what it has of a file when it is interrupted, and leaves it behind for
ever when it is killed. Here a file grows as blobs/<hash>.tulu.incomplete, goes on from its end
whatever interrupted it, and gets the name under which the library finds it once its SHA-256 is
right. The library's own lock is held meanwhile, so that no two programs fetch the same file.
"""

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tulu_cli.disk import locked, locked_if_free
from tulu_cli.errors import TuluError
from tulu_cli.models.cache import hub_folder
from tulu_cli.models.hub_progress import Meter
from tulu_cli.models.progress import Progress
from tulu_cli.models.reference import ModelRef
from tulu_cli.text import gib

_AT_ONCE = 4
# More than this the library fetches only by its own protocol, so it is left to do so.
_MOST_BYTES = 50_000_000_000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub, its size in bytes; `sha256` is known of large files alone."""

    name: str
    size: int
    sha256: str | None


def require_room(ref: ModelRef, files: list[RemoteFile]) -> None:
    """Raise TuluError where the disk has no room for what is still to come of these files."""
    folder = hub_folder(ref.repo or "")
    needed = sum(file.size - _at_hand(folder, file) for file in files)
    place = next(path for path in folder.parents if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise TuluError(
            f"The disk is too full for {ref.repo}: {gib(needed)} are to come and "
            f"{str(place)!r} has {gib(free)} free: make room, or set HF_HUB_CACHE to another disk."
        )


def fetch_weights(commit: ModelRef, files: list[RemoteFile], progress: Progress) -> None:
    """Put the large ones of these files into the cache, several at a time.

    Raises what the library raises, and TuluError where the disk is too small for all of them.
    """
    _sweep(hub_folder(commit.repo or ""))
    large = [file for file in files if file.sha256]
    require_room(commit, large)
    if large := [file for file in large if file.size <= _MOST_BYTES]:
        _Fetching(commit, large, progress).run()


class _Fetching:
    """The threads that fetch. They are daemons: a Ctrl-C waits for none of them."""

    def __init__(self, commit: ModelRef, files: list[RemoteFile], progress: Progress) -> None:
        size = sum(file.size for file in files)
        self._commit = commit
        self._files = iter(files)
        self._meter = Meter(f"Downloading {commit.repo} ({gib(size)})", size, progress)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(_AT_ONCE, len(files)))
        ]

    def run(self) -> None:
        """Fetch them all; the first error ends it, and what has come is kept."""
        try:
            for thread in self._threads:
                thread.start()
            for thread in self._threads:
                thread.join()
        finally:
            self._meter.stop()
        if self._error:
            raise self._error

    def _work(self) -> None:
        try:
            while file := self._next():
                self._fetch(file)
        except BaseException as error:  # noqa: BLE001  it is raised again where it is waited for
            self._error = self._error or error
            self._meter.stop()

    def _next(self) -> RemoteFile | None:
        with self._lock:
            return None if self._error else next(self._files, None)

    def _fetch(self, file: RemoteFile) -> None:
        blob = _blob(hub_folder(self._commit.repo or ""), file)
        partial = _partial(blob)
        blob.parent.mkdir(parents=True, exist_ok=True)
        with locked(
            lock_path(blob), lambda: self._meter.say(f"Another process fetches {file.name}")
        ):
            if not blob.exists():
                with partial.open("ab") as target:
                    self._append(file, target)
                _require_hash(partial, file)
                os.replace(partial, blob)
        self._meter.show(file.name, file.size, file.size)

    def _append(self, file: RemoteFile, target: BinaryIO) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        repo, revision = self._commit.repo or "", self._commit.revision
        if target.tell() > file.size:
            target.truncate(target.seek(0))
        http_get(
            hf_hub_url(repo, file.name, revision=revision),
            target,
            resume_size=target.tell(),
            headers=build_hf_headers(),
            expected_size=file.size,
            tqdm_class=self._meter.counter(file.name, file.size),
        )


def _at_hand(folder: Path, file: RemoteFile) -> int:
    """The bytes of a file that are here already."""
    if not file.sha256:
        return 0
    blob = _blob(folder, file)
    present = next((path for path in (blob, _partial(blob)) if path.exists()), None)
    return min(present.stat().st_size, file.size) if present else 0


def _blob(folder: Path, file: RemoteFile) -> Path:
    return folder / "blobs" / str(file.sha256)


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.tulu.incomplete")


def lock_path(blob: Path) -> Path:
    """The file that the library locks while it fetches a blob."""
    folder = blob.parents[1]
    return folder.parent / ".locks" / folder.name / f"{blob.name}.lock"


def _sweep(folder: Path) -> None:
    """Remove what killed downloads of the library left: a file whose lock is free has no writer."""
    for left in folder.glob("blobs/*.incomplete"):
        blob = left.with_name(left.name.partition(".")[0])
        if left == _partial(blob):
            continue
        with locked_if_free(lock_path(blob)) as free:
            if free:
                left.unlink(missing_ok=True)


def _require_hash(partial: Path, file: RemoteFile) -> None:
    with partial.open("rb") as source:
        found = hashlib.file_digest(source, "sha256").hexdigest()
    if found != file.sha256:
        partial.unlink()
        raise OSError(f"{file.name} did not arrive as it was published")
