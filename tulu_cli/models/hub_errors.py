"""Exceptions of the Hub's library, translated into ours with what to do next."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import errors as hub

from tulu_cli.errors import ModelNotFound, TuluError

# The base of the HTTP library's own errors, whichever library this release of the Hub's uses.
HTTP_ERROR: type[Exception] = hub.HfHubHTTPError.__bases__[0]
# Xet, which moves large files, raises RuntimeError. The only warning is of a disk too small.
FOREIGN = (
    OSError,
    HTTP_ERROR,
    hub.EntryNotFoundError,
    hub.HFValidationError,
    RuntimeError,
    UserWarning,
)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOGIN = "log in with `hf auth login` or set HF_TOKEN."
_TOO_MANY_REQUESTS = 429

# The most specific class comes first. None of these is mended by trying again.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (
        hub.GatedRepoError,
        "{name} is gated: accept its licence on its page on the Hugging Face Hub, and then "
        + _LOGIN,
    ),
    (hub.DisabledRepoError, "{name} has been disabled on the Hugging Face Hub: choose another."),
    (
        hub.RepositoryNotFoundError,
        "There is no repository {name} on the Hugging Face Hub, or it is private: check the name, "
        + _LOGIN,
    ),
    (
        hub.RevisionNotFoundError,
        "There is no revision {name} on the Hugging Face Hub: leave out the @ to use main.",
    ),
    (hub.HFValidationError, "{name} is not a valid name of a repository: write org/name."),
    (hub.LocalTokenNotFoundError, "{name} needs a login: " + _LOGIN),
)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise the Hub's errors about the model `name` as TuluError or ModelNotFound."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error, name) from error


def translate(error: BaseException, name: str) -> TuluError:
    """Return the error of ours for one exception of FOREIGN."""
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return ModelNotFound(sentence.format(name=name))
    if isinstance(error, hub.LocalEntryNotFoundError):
        # The Hub may have answered, if not with the files: then its answer is the reason.
        answer = error.__cause__
        return translate(answer, name) if isinstance(answer, hub.HfHubHTTPError) else _away(name)
    if isinstance(error, hub.HfHubHTTPError):
        return TuluError(_status_sentence(error.response.status_code, name))
    if isinstance(error, (HTTP_ERROR, ConnectionError, TimeoutError)):
        return _away(name)
    if isinstance(error, UserWarning) or getattr(error, "errno", 0) in _DISK_FULL:
        return TuluError(
            f"The disk is too full for {name}: make room, or set HF_HUB_CACHE to another disk."
        )
    detail = " ".join(str(error).split())[:300]
    return TuluError(f"Fetching {name} failed ({detail}): try again.")


def _away(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"{name} is not in the cache, or only in part, and the Hugging Face Hub cannot be "
        "reached: check the connection and try again."
    )


def _status_sentence(status: int, name: str) -> str:
    if status in (401, 403):
        return f"The Hugging Face Hub refused the login for {name}: run `hf auth login` again."
    if status == _TOO_MANY_REQUESTS:
        return (
            f"The Hugging Face Hub gets too many requests from this address for {name}: try later."
        )
    return f"The Hugging Face Hub answered {status} for {name}: try again later."
