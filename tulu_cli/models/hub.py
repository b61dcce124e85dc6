"""A repository of the Hugging Face Hub, in the cache that all its programs share."""

import os
from pathlib import Path

from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import notice
from tulu_cli.models.hub_library import (
    cached,
    download,
    full_name,
    is_commit,
    names_on_the_hub,
)
from tulu_cli.models.progress import Progress, Say
from tulu_cli.models.reference import ModelRef
from tulu_cli.models.weights import (
    has_only_pickles,
    listed,
    missing_files,
    only_pickles,
)


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
        f"{full_name(ref)} has no {listed(sorted(missing))}: if it is a repository of GGUF "
        "files, download one of them and name that file."
    )
