"""The user's cache of converted models: each is built once, by one process, and appears whole.

    converted/<target>/                   finished, never changed again
    converted/.staging/<target>.<random>/ being built, or left behind by a process that died
    converted/.locks/<target>             held by whoever builds it

Other folders of the cache, as that of the evaluation data, are kept in the same way.

A kill at any moment leaves a staging folder and a free lock, which the next run cleans up.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tulu_cli.disk import cache_root, locked, locked_if_free, make_private, publish
from tulu_cli.errors import TuluError
from tulu_cli.models.config import missing_files
from tulu_cli.streams import Progress


def is_whole_model(directory: Path) -> bool:
    """Return True for a directory with all files of a model."""
    return not missing_files(directory)


def build_once(
    target: str,
    build: Callable[[Path], Path],
    progress: Progress,
    *,
    folder: str = "converted",
    is_whole: Callable[[Path], bool] = is_whole_model,
) -> Path:
    """Return the finished directory `target`, built now if it does not exist or is not whole.

    `build` gets an empty staging folder and returns the directory in it that is to be kept. If
    another process is building the same target, this one says so, waits, and uses the result.
    `folder` is that of the cache which the target belongs to.

    Raise TuluError if the cache cannot be written, and whatever `build` raises.
    """
    converted = cache_root() / folder

    def is_finished() -> bool:
        # Appearing is atomic, but a user may have emptied a part of the cache since.
        return finished.is_dir() and is_whole(finished)

    finished = converted / target
    with _disk_errors(converted):
        _sweep(converted)
        if is_finished():
            return finished
        with locked(build_lock(converted / target), lambda: _say_waiting(target, progress)):
            if not is_finished():
                _build(finished, build)
    return finished


def _build(finished: Path, build: Callable[[Path], Path]) -> None:
    parent = finished.parent / ".staging"
    make_private(parent)
    staging = Path(tempfile.mkdtemp(prefix=f"{finished.name}.", dir=parent))
    try:
        publish(build(staging), finished)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sweep(converted: Path) -> None:
    """Remove what dead builders have left: a staging folder whose lock is free has no builder."""
    for staging in converted.glob(".staging/*"):
        target = staging.name.rpartition(".")[0]
        # A cache that we may only read still serves.
        with suppress(PermissionError), locked_if_free(build_lock(converted / target)) as free:
            if free:
                shutil.rmtree(staging, ignore_errors=True)


def build_lock(finished: Path) -> Path:
    """Return the lock file of a finished directory: who builds or removes it holds the lock."""
    return finished.parent / ".locks" / finished.name


def _say_waiting(target: str, progress: Progress) -> None:
    progress(f"Waiting for another process that is preparing {target}", 0, 0)


@contextmanager
def _disk_errors(converted: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TuluError(
            f"The cache {str(converted)!r} cannot be used ({error.strerror or error}): make room "
            "or mend its permissions, or set TULU_CACHE_DIR to another folder."
        ) from error
