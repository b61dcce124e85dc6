"""Every exception that the Hub's library documents becomes one sentence of ours."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors as hub
from huggingface_hub import snapshot_download

from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import locate, resolve
from tulu_cli.models.hub_errors import HTTP_ERROR, translate

from .fake_hub import COMMIT, fill_cache

# What a download cannot raise: other services, local files of other kinds, and pure bases.
ELSEWHERE = ("Bucket", "Job", "DDUF", "Inference", "Generation", "OAuth", "Strict", "Device")
ALSO_ELSEWHERE = {
    hub.CacheNotFound,
    hub.CorruptedCacheException,
    hub.CachedRepoTreeNotFoundError,
    hub.RevisionResolutionError,
    hub.HfUriError,
    hub.OIDCError,
}


class Response:
    """As much of an HTTP response as the exceptions look at."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}
        self.request = None


def instance(kind: type[Exception]) -> Exception:
    """An exception of that kind, however it is made."""
    for arguments in ({"response": Response(404)}, {"snapshot_path": "/x"}, {}):
        try:
            return kind("many\nlines", **arguments)
        except TypeError:
            continue
    raise AssertionError(kind)


def raised_by_downloads() -> list[type[Exception]]:
    """All of the library's exceptions that are errors of the HTTP, the disk or an entry."""
    found = [
        value
        for name, value in vars(hub).items()
        if isinstance(value, type)
        and issubclass(value, (OSError, hub.HfHubHTTPError, hub.EntryNotFoundError))
        and value.__module__ == hub.__name__
        and not name.startswith(ELSEWHERE)
        and value not in ALSO_ELSEWHERE
    ]
    return [*found, hub.HFValidationError, HTTP_ERROR]


@pytest.mark.parametrize("kind", raised_by_downloads(), ids=lambda kind: kind.__name__)
def test_every_exception_becomes_a_sentence(
    kind: type[Exception], hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, local_files_only: bool = False, **__: object) -> str:
        raise hub.LocalEntryNotFoundError("no") if local_files_only else instance(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(TuluError) as caught:
        locate(resolve("org/name"))
    assert "org/name" in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(".")
    assert not hub_cache.exists()


def test_the_list_of_exceptions_is_not_empty() -> None:
    assert {hub.GatedRepoError, hub.RevisionNotFoundError, hub.LocalEntryNotFoundError} <= set(
        raised_by_downloads()
    )


@pytest.mark.parametrize(
    ("make", "kind", "advice"),
    [
        (lambda: OSError(errno.ENOSPC, "full"), TuluError, "make room"),
        (lambda: OSError(errno.EDQUOT, "quota"), TuluError, "make room"),
        (lambda: PermissionError(errno.EACCES, "closed", "/x"), TuluError, "closed"),
        (lambda: ConnectionResetError("gone"), ModelNotFound, "cannot be reached"),
        (lambda: TimeoutError("late"), ModelNotFound, "cannot be reached"),
        (lambda: RuntimeError("Data processing error:\n CAS"), TuluError, "try again"),
        (lambda: hub.OfflineModeIsEnabled("no"), ModelNotFound, "cannot be reached"),
        (lambda: hub.LocalTokenNotFoundError("no"), ModelNotFound, "hf auth login"),
    ],
)
def test_errors_of_the_machine(
    make: Callable[[], Exception], kind: type[TuluError], advice: str
) -> None:
    sentence = translate(make(), "org/name")
    assert type(sentence) is kind
    assert advice in str(sentence)


@pytest.mark.parametrize(
    ("error", "serves"),
    [
        (ConnectionResetError("gone"), True),
        (HTTP_ERROR("proxy"), True),
        (instance(hub.GatedRepoError), False),
        (instance(hub.RevisionNotFoundError), False),
    ],
)
def test_a_cached_copy_serves_unless_the_hub_said_no(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, *, serves: bool
) -> None:
    texts = dict.fromkeys(("config.json", "tokenizer.json", "model.safetensors"), b"{}")
    fill_cache(hub_cache, "org/name", texts)

    def fail(*arguments: Any, **options: Any) -> str:
        if not options.get("local_files_only"):
            raise error
        return str(snapshot_download(*arguments, **options))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    if serves:
        assert locate(resolve("org/name")).revision == COMMIT
    else:
        with pytest.raises(ModelNotFound):
            locate(resolve("org/name"))


def test_a_mistake_in_our_own_call_is_not_hidden(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise TypeError(str(hub_cache))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(TypeError):
        locate(resolve("org/name"))
