"""The questions that we put to the Hub's library, and nothing else of it."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from tulu_cli.models.progress import Progress
from tulu_cli.models.reference import ModelRef
from tulu_cli.models.weights import missing_files

# *.py is text here: it is run only by an engine that was told to trust it.
_TEXT_FILES = ["*.json", "*.jinja", "*.py", "*.model", "merges.txt", "vocab.txt", "*.tiktoken"]
_WEIGHTS = ["*.safetensors"]
# Second copies of the weights that some repositories hold in another layout.
_COPIES = ["consolidated*", "original/*", "onnx/*"]
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub, its size in bytes; `sha256` is known of large files alone."""

    name: str
    size: int
    sha256: str | None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit hash, which always names the same files."""
    return bool(_COMMIT.fullmatch(revision or ""))


def full_name(ref: ModelRef) -> str:
    """The repository, with the revision if one was asked for."""
    return f"{ref.repo}@{ref.revision}" if ref.revision else str(ref.repo)


def cached(ref: ModelRef, *, weights: bool) -> Path | None:
    """The directory of this revision if the cache has it whole: no socket is opened."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from tulu_cli.models.hub_errors import translated

    with translated(full_name(ref)):
        try:
            found = snapshot_download(
                ref.repo or "",
                revision=ref.revision,
                allow_patterns=_patterns(weights=weights),
                ignore_patterns=_COPIES,
                local_files_only=True,
            )
        except LocalEntryNotFoundError:
            return None
    return None if missing_files(Path(found), weights=weights) else Path(found)


def download(ref: ModelRef, *, weights: bool, progress: Progress) -> Path:
    """Fetch what the cache lacks of a revision, and return its directory.

    Raises the exceptions that hub_errors names FOREIGN, and TuluError for a disk too small.
    """
    from tulu_cli.models.hub_weights import fetch_weights, require_room

    if is_commit(ref.revision):
        # For a commit the library goes on for half a minute if the Hub is out of reach.
        names_on_the_hub(ref, ref.revision or "")
    if weights and not cached(ref, weights=False):
        require_room(ref, remote_files(ref))
    directory = _snapshot(ref, f"Reading the configuration of {ref.repo}", progress)
    commit = replace(ref, revision=directory.name)
    if weights and not cached(commit, weights=True):
        with quiet():
            fetch_weights(commit, remote_files(commit), progress)
        _snapshot(commit, f"Linking {ref.repo}", progress, weights=True)
    return directory


def _snapshot(ref: ModelRef, stage: str, progress: Progress, *, weights: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    from tulu_cli.models.hub_progress import silent_bar

    with warnings.catch_warnings(), quiet():
        # The library only warns of it, and then fills the disk.
        warnings.filterwarnings("error", message="Not enough free disk space")
        return Path(
            snapshot_download(
                ref.repo or "",
                revision=ref.revision,
                allow_patterns=_patterns(weights=weights),
                ignore_patterns=_COPIES,
                tqdm_class=silent_bar(stage, progress),
            )
        )


def remote_files(ref: ModelRef) -> list[RemoteFile]:
    """The files of a revision that we would fetch, in one request."""
    from huggingface_hub import HfApi

    about = HfApi().model_info(ref.repo or "", revision=ref.revision, files_metadata=True)
    return [
        RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in about.siblings or ()
        if _matches(file.rfilename, _patterns(weights=True))
        and not _matches(file.rfilename, _COPIES)
    ]


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def names_on_the_hub(ref: ModelRef, revision: str) -> list[Path]:
    """The files of a repository: one request, which the library does not try again."""
    from huggingface_hub import HfApi

    information = HfApi().model_info(ref.repo or "", revision=revision)
    return [Path(file.rfilename) for file in information.siblings or ()]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings off the terminal: what matters of them becomes an error here."""
    import huggingface_hub.utils.logging  # noqa: F401  which sets the level when it is imported

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _patterns(*, weights: bool) -> list[str]:
    return _TEXT_FILES + (_WEIGHTS if weights else [])
