"""What is on the disk of a model: all of it, a part, or nothing. No network, no heavy import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tulu_cli.errors import BadInput
from tulu_cli.models.cache import cache_root
from tulu_cli.models.disk import folder_size
from tulu_cli.models.family import demo_source
from tulu_cli.models.gguf import file_target, target_name
from tulu_cli.models.reference import ModelRef
from tulu_cli.models.weights import missing_files

State = Literal["complete", "partial", "none"]


@dataclass(frozen=True, slots=True)
class Cached:
    """A model's place in a cache, whether all of it is there, and the bytes that it takes.

    `broken_off` are the bytes among them of downloads that have not come to their end.
    """

    state: State
    path: Path
    bytes: int = 0
    broken_off: int = 0


def look(ref: ModelRef) -> Cached:
    """What the caches hold of a model; for a directory of the user's own, that directory."""
    if ref.kind == "hub":
        return _on_hub(ref)
    if ref.kind == "directory":
        path = ref.path or Path()
        return Cached(_state([path]), path, folder_size(path))
    path = converted_path(ref)
    return Cached(_state([path]), path, folder_size(path))


def converted_path(ref: ModelRef) -> Path:
    """Where the conversion of the demo or of a GGUF file lies, once it has been made."""
    if ref.kind == "demo":
        target = target_name("demo", demo_source().gguf_sha256)
    else:
        target = file_target(ref.path or Path())
    return cache_root() / "converted" / target


def hub_folder(repo: str) -> Path:
    """Where the Hub's library keeps a repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def snapshots(ref: ModelRef) -> list[Path]:
    """The directories of a repository's revisions that are here, in whole or in part.

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
    sizes = {path: path.stat().st_size for path in folder.glob("blobs/*") if path.is_file()}
    broken_off = sum(size for path, size in sizes.items() if path.suffix == ".incomplete")
    state = _state(snapshots(ref))
    if state == "none" and sizes:
        state = "partial"
    return Cached(state, folder, sum(sizes.values()), broken_off)


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
