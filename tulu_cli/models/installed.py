"""Find what the caches hold of a model, and remove it. No network, no heavy import."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tulu_cli.disk import cache_root, folder_size, locked_if_free, make_private
from tulu_cli.errors import BadInput, ModelNotFound, TuluError, UsageError
from tulu_cli.models.cache import build_lock
from tulu_cli.models.config import missing_files
from tulu_cli.models.family import DEMO
from tulu_cli.models.gguf import file_target, target_name
from tulu_cli.models.hub import fetched_elsewhere, hub_cache, hub_folder, quiet
from tulu_cli.models.reference import ModelRef

if TYPE_CHECKING:
    from huggingface_hub import DeleteCacheStrategy


State = Literal["complete", "partial", "none"]


@dataclass(frozen=True, slots=True)
class Cached:
    """A model's place in a cache, whether it is complete, and the bytes that it takes.

    The bytes include those of downloads that run or were cut short.
    """

    state: State
    path: Path
    bytes: int = 0


def look(ref: ModelRef) -> Cached:
    """Return what the caches hold of a model; for a directory of the user's own, that directory."""
    if ref.kind == "hub":
        return _on_hub(ref)
    if ref.kind == "directory":
        path = ref.path or Path()
        return Cached(_state([path]), path, folder_size(path))
    path = converted_path(ref)
    return Cached(_state([path]), path, folder_size(path))


def converted_path(ref: ModelRef) -> Path:
    """Return the directory for the conversion of the demo or of a GGUF file, made or not."""
    if ref.kind == "demo":
        target = target_name("demo", DEMO.gguf_sha256)
    else:
        target = file_target(ref.path or Path())
    return cache_root() / "converted" / target


def snapshots(ref: ModelRef) -> list[Path]:
    """Return the directories of a repository's revisions in the cache, complete or not.

    A revision in the name is a commit, or a branch or tag as it was when it was fetched.
    """
    folder = hub_folder(ref.repo or "")
    found = sorted(path for path in folder.glob("snapshots/*") if path.is_dir())
    if ref.revision is None:
        return found
    reference = folder / "refs" / ref.revision
    wanted = reference.read_text().strip() if reference.is_file() else ref.revision
    return [path for path in found if path.name == wanted]


def _on_hub(ref: ModelRef) -> Cached:
    folder = hub_folder(ref.repo or "")
    size = folder_size(folder / "blobs")
    state = _state(snapshots(ref))
    if state == "none" and size:
        state = "partial"
    return Cached(state, folder, size)


def _state(directories: list[Path]) -> State:
    if any(_is_complete(directory) for directory in directories):
        return "complete"
    return "partial" if any(map(_has_files, directories)) else "none"


def _has_files(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def _is_complete(directory: Path) -> bool:
    try:
        return directory.is_dir() and not missing_files(directory)
    except BadInput:  # an index that is cut short
        return False


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal that is ready to be executed: the name, the folder and the bytes that go."""

    name: str
    path: Path
    bytes: int
    execute: Callable[[], None]


def plan_removal(ref: ModelRef) -> Removal:
    """Find what the caches hold of a model, and touch nothing yet.

    Raise UsageError for a directory of the user's own, ModelNotFound if nothing is cached, and
    TuluError if another process is fetching or converting it, or a part of it may not be removed.
    """
    if ref.kind == "directory":
        raise UsageError(f"{ref.name!r} is a directory of yours, not a cache: remove it yourself.")
    found = look(ref)
    if ref.kind != "hub":
        return _converted(ref, found)
    if ref.revision and not snapshots(ref):
        raise _nothing(ref)
    if found.state == "none":
        raise _nothing(ref)
    _refuse_if_busy(ref)
    if ref.revision:
        return _revision(ref)
    _refuse_if_locked(ref.repo or "", [found.path])
    return Removal(ref.repo or "", found.path, found.bytes, lambda: _remove_repository(ref))


def _converted(ref: ModelRef, found: Cached) -> Removal:
    if found.state == "none":
        raise _nothing(ref)
    _refuse_if_locked(ref.name, [found.path])

    def execute() -> None:
        path = converted_path(ref)
        with locked_if_free(build_lock(path)) as free:
            if not free:
                raise _busy(ref)
            _vanish(path)

    return Removal(ref.name, found.path, found.bytes, execute)


def _vanish(path: Path) -> None:
    """Remove a directory from its place in one step, so that nobody ever finds half of it."""
    parent = path.parent / ".staging"
    make_private(parent)
    aside = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=parent))
    path.rename(aside / "removed")
    shutil.rmtree(aside)


def _revision(ref: ModelRef) -> Removal:
    """Plan the removal of one revision: only of the files that no other revision has."""
    strategy = _strategy(ref)
    name, folder = f"{ref.repo}@{ref.revision}", hub_folder(ref.repo or "")
    _refuse_if_locked(name, [*strategy.repos, *strategy.snapshots, *strategy.refs, *strategy.blobs])

    def execute() -> None:
        with quiet():
            strategy.execute()
        if any(path.exists() for path in strategy.snapshots | strategy.repos):
            raise TuluError(f"{str(folder)!r} cannot be removed: mend its permissions.")

    return Removal(name, folder, strategy.expected_freed_size, execute)


def _remove_repository(ref: ModelRef) -> None:
    """Remove by the library's own way, and then what it does not know: a download cut short."""
    # A cache that it calls damaged has no strategy.
    with suppress(ModelNotFound), quiet():
        _strategy(ref).execute()
    folder = hub_folder(ref.repo or "")
    if folder.exists():
        shutil.rmtree(folder)


def _strategy(ref: ModelRef) -> "DeleteCacheStrategy":
    """Return what the library would delete of the revisions that are meant."""
    from huggingface_hub import scan_cache_dir

    everything = scan_cache_dir(hub_cache())
    ours = [repo for repo in everything.repos if repo.repo_path == hub_folder(ref.repo or "")]
    # The library looks for a commit in all repositories, and a copy of one has the same commits.
    info = replace(everything, repos=frozenset(ours))
    known = {revision.commit_hash for repo in ours for revision in repo.revisions}
    meant = known & {path.name for path in snapshots(ref)}
    if not meant:
        raise _nothing(ref)
    return info.delete_revisions(*meant)


def _refuse_if_busy(ref: ModelRef) -> None:
    if fetched_elsewhere(ref.repo or ""):
        raise _busy(ref)


def _refuse_if_locked(name: str, paths: Iterable[Path]) -> None:
    """Raise TuluError if a file or folder among `paths`, or below one, may not be removed.

    A removal that stops half-way would leave a model that is neither there nor gone.
    """
    for path in paths:
        folders = [path.parent, *(Path(folder) for folder, _, _ in os.walk(path))]
        if refusing := next((folder for folder in folders if not _may_remove_from(folder)), None):
            raise TuluError(
                f"{name!r} cannot be removed, and nothing of it was: you may not write to "
                f"{str(refusing)!r}; mend its permissions, or ask its owner."
            )


def _may_remove_from(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _busy(ref: ModelRef) -> TuluError:
    return TuluError(f"Another process is fetching {ref.name!r}: try again when it has ended.")


def _nothing(ref: ModelRef) -> ModelNotFound:
    return ModelNotFound(f"Nothing of {ref.name!r} is in the cache: there is nothing to remove.")
