"""A repository of the Hugging Face Hub, in the cache that all its programs share."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import notice
from tulu_cli.models.config import has_only_pickles, missing_files, only_pickles
from tulu_cli.models.hub_weights import RemoteFile, fetch_weights, require_room
from tulu_cli.models.progress import Progress, Say
from tulu_cli.models.reference import ModelRef
from tulu_cli.text import listed

# *.py is text here: it is run only by an engine that was told to trust it.
_TEXT_FILES = ["*.json", "*.jinja", "*.py", "*.model", "merges.txt", "vocab.txt", "*.tiktoken"]
_WEIGHTS = ["*.safetensors"]
# Second copies of the weights that some repositories hold in another layout.
_COPIES = ["consolidated*", "original/*", "onnx/*"]
_COMMIT = re.compile(r"[0-9a-f]{40}")


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


def snapshot(
    ref: ModelRef, *, offline: bool, weights: bool, progress: Progress, say: Say | None = None
) -> Path:
    """The directory of a repository's files at one commit, fetched as far as it is not here.

    What is cached whole is used without a look at the network if `offline`, or if the revision
    is a commit, which never changes. Else the Hub is asked once, and where it cannot be reached
    the cached copy serves.

    Raises ModelNotFound where the model does not exist, is not open to this user, or is not
    cached and the Hub is out of reach; BadInput for pickle weights; TuluError for a full disk.
    """
    # Set before the first import, which is when the library reads it.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if offline or is_commit(ref.revision):
        found = cached(ref, weights=weights)
        if found:
            return found
    if offline:
        raise _not_cached(ref, weights=weights)
    if say and ref.is_tulu and notice.is_due() and not cached(ref, weights=weights):
        notice.show(say)
    directory = _fetched(ref, weights=weights, progress=progress)
    _require_model(ref, directory, weights=weights)
    return directory


def _fetched(ref: ModelRef, *, weights: bool, progress: Progress) -> Path:
    from tulu_cli.models.hub_errors import FOREIGN, translate

    try:
        return download(ref, weights=weights, progress=progress)
    except FOREIGN as error:
        refusal = translate(error, full_name(ref))
        found = None if _is_final(error) else cached(ref, weights=weights)
        if found:
            return found
        raise refusal from error


def _is_final(error: Exception) -> bool:
    """Whether the Hub was reached and said no: then an old copy must not hide it."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    return isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, UserWarning))


def _not_cached(ref: ModelRef, *, weights: bool) -> TuluError:
    texts = cached(ref, weights=False) if weights else None
    if texts and has_only_pickles(texts.iterdir()):
        return only_pickles(full_name(ref))
    return ModelNotFound(
        f"{full_name(ref)} is not in the cache, or only in part, and we are offline: fetch it "
        "once without --offline and HF_HUB_OFFLINE."
    )


def _require_model(ref: ModelRef, directory: Path, *, weights: bool) -> None:
    """Refuse what was fetched, and is all that there is, if no engine could load it."""
    from tulu_cli.models.hub_errors import translated

    # A model without a tokenizer can still be planned for.
    missing = set(missing_files(directory, weights=weights)) - {"tokenizer.json"}
    if not missing:
        return
    # This raises if the Hub is out of reach, and a cached copy in part is all that we were given.
    with translated(full_name(ref)):
        names = names_on_the_hub(ref, directory.name)
    if has_only_pickles(names):
        raise only_pickles(full_name(ref))
    raise ModelNotFound(
        f"{full_name(ref)} has no {listed(sorted(missing), 3)}: if it is a repository of GGUF "
        "files, download one of them and name that file."
    )
