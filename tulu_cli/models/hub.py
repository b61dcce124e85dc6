"""A repository of the Hugging Face Hub, in the cache that all its programs share."""

import importlib
import io
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tulu_cli.disk import locked_if_free, require_space
from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import notice
from tulu_cli.models.config import has_only_pickles, missing_files, only_pickles
from tulu_cli.models.reference import ModelRef, adapter_refusal
from tulu_cli.streams import Progress
from tulu_cli.text import gib, listed

# *.py is text here: it is run only by an engine that was told to trust it.
_TEXT_FILES = ["*.json", "*.jinja", "*.py", "*.model", "merges.txt", "vocab.txt", "*.tiktoken"]
_WEIGHTS = ["*.safetensors"]
_ADAPTER = ["adapter_config.json", "adapter_model.*", "tokenizer*.json", "chat_template.jinja"]
# Second copies of the weights that some repositories hold in another layout.
_COPIES = ["consolidated*", "original/*", "onnx/*"]
_COMMIT = re.compile(r"[0-9a-f]{40}")
_AT_ONCE = 4
# A download writes at least every few seconds, or ends.
_ABANDONED_SECONDS = 3600.0


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if the environment tells the Hub's library to open no socket.

    It is the library's own rule (huggingface_hub/constants.py), which it applies only once, when
    it is imported.
    """
    said = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


def hub_cache() -> Path:
    """Return the folder in which the Hub's library keeps repositories."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def hub_folder(repo: str) -> Path:
    """Return the folder in which the Hub's library keeps the repository `repo`."""
    return hub_cache() / f"models--{repo.replace('/', '--')}"


def be_private() -> None:
    """Have the Hub's library tell nothing of this machine, nor ask the Hub which programs it knows.

    It does so before it looks into its own cache, too.
    """
    told = os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it has read it already
        constants.HF_HUB_DISABLE_TELEMETRY |= told == "1"


def is_commit(revision: str | None) -> bool:
    """Return True for a full commit hash, which always names the same files."""
    return bool(_COMMIT.fullmatch(revision or ""))


def full_name(ref: ModelRef) -> str:
    """Return the repository's name, with @ and the revision if one was asked for."""
    return f"{ref.repo}@{ref.revision}" if ref.revision else str(ref.repo)


def cached(ref: ModelRef, *, weights: bool) -> Path | None:
    """Return the directory of a revision if the cache has it whole, without opening a socket."""
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


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub: its name, its size in bytes, and the name of its bytes in the cache."""

    name: str
    size: int
    blob: str


def remote_files(ref: ModelRef) -> list[RemoteFile]:
    """Return the weights of a revision that would be fetched, in one request."""
    from huggingface_hub import HfApi

    about = HfApi().model_info(ref.repo or "", revision=ref.revision, files_metadata=True)
    return [
        RemoteFile(
            file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else str(file.blob_id)
        )
        for file in about.siblings or ()
        if _matches(file.rfilename, _WEIGHTS) and not _matches(file.rfilename, _COPIES)
    ]


def require_disk_space(ref: ModelRef, files: list[RemoteFile]) -> None:
    """Raise TuluError if the disk has no space for what the cache lacks of these files."""
    place = next(path for path in hub_folder(ref.repo or "").parents if path.is_dir())
    require_space(place, _missing_bytes(ref, files), f"Downloading {ref.repo}", "HF_HUB_CACHE")


def _missing_bytes(ref: ModelRef, files: list[RemoteFile]) -> int:
    blobs = hub_folder(ref.repo or "") / "blobs"
    return sum(file.size for file in files if not (blobs / file.blob).exists())


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _download(ref: ModelRef, *, weights: bool, progress: Progress) -> Path:
    """Fetch what the cache lacks of a revision, and return its directory.

    Raise the exceptions that hub_errors names FOREIGN, and TuluError if the disk is too small.
    """
    if is_commit(ref.revision) or (weights and not cached(ref, weights=False)):
        # For a commit the library goes on for half a minute if the Hub is out of reach.
        files = remote_files(ref)
        if weights:
            require_disk_space(ref, files)
    directory = _fetch_texts(ref, progress)
    commit = replace(ref, revision=directory.name)
    if weights:
        _sweep(hub_folder(ref.repo or ""))
        if not cached(commit, weights=True):
            files = remote_files(commit)
            require_disk_space(commit, files)
            _fetch_weights(commit, files, progress)
    return directory


def _fetch_texts(ref: ModelRef, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download

    with _strict():
        return Path(
            snapshot_download(
                ref.repo or "",
                revision=ref.revision,
                allow_patterns=_TEXT_FILES,
                ignore_patterns=_COPIES,
                tqdm_class=silent_bar(f"Reading the configuration of {ref.repo}", progress),
            )
        )


def _fetch_weights(commit: ModelRef, files: list[RemoteFile], progress: Progress) -> None:
    """Download files by the library, a few at a time. What has been fetched whole is kept.

    The threads are daemons, so that a Ctrl-C waits for none of them; those of snapshot_download
    are waited for until each has finished the file that it is fetching.
    """
    from huggingface_hub import hf_hub_download

    if {file.blob for file in files} & fetched_elsewhere(commit.repo or ""):
        progress(f"Waiting for another process that is fetching {commit.repo}", 0, 0)
    size = _missing_bytes(commit, files)
    meter = _Meter(f"Downloading {commit.repo} ({gib(size)})", size, progress)
    waiting = iter(files)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors and (file := next(waiting, None)):
                hf_hub_download(
                    commit.repo or "",
                    file.name,
                    revision=commit.revision,
                    tqdm_class=silent_bar(file.name, meter.report),
                )
        except BaseException as error:  # noqa: BLE001  it is raised again where it is waited for
            errors.append(error)
            meter.stop()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(files)))]
    with _strict():
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            meter.stop()
    if errors:
        raise errors[0]


def silent_bar(stage: str, progress: Progress) -> type[Any]:
    """Return a tqdm class that draws nothing and reports the bytes of a download.

    The library makes several: one counts files, one the bytes received and one those written.
    Only bytes are reported, from whichever bar is ahead: without Xet one of them stands still.
    """
    base: Any = importlib.import_module("tqdm.std").tqdm
    lock = threading.Lock()
    reported = 0

    class SilentBar(base):  # type: ignore[misc]
        # A thread of tqdm's would look after bars that stand still, and can trip over new ones.
        monitor_interval = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **options | {"file": io.StringIO(), "disable": False})

        def display(self, *_args: Any, **_options: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            nonlocal reported
            with lock:
                super().update(n)
                total = int(self.total or 0)
                if self.unit == "B" and total and self.n >= reported:
                    reported = int(self.n)
                    progress(stage, min(reported, total), total)

    return SilentBar


class _Meter:
    """Adds up the progress of several files, and reports each of them and all together.

    `report` may be called from several threads; the calls that it makes come one at a time, and
    none after `stop`.
    """

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage = stage
        self._total = total
        self._progress = progress
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def report(self, name: str, done: int, size: int) -> None:
        """Report the bytes of one file, or raise InterruptedError after `stop`, to end it."""
        with self._lock:
            if self._stopped:
                raise InterruptedError
            self._done[name] = done
            self._progress(self._stage, min(sum(self._done.values()), self._total), self._total)
            self._progress(name, done, size)

    def stop(self) -> None:
        """Report nothing more, and end each download at its next report."""
        with self._lock:
            self._stopped = True


def fetched_elsewhere(repo: str) -> set[str]:
    """Return the names of the blobs of a repository that another process is fetching now.

    It holds the library's lock of each, wherever the disk has locks.
    """
    found = set()
    for path in (hub_cache() / ".locks" / hub_folder(repo).name).glob("*.lock"):
        with locked_if_free(path) as free:
            if not free:
                found.add(path.stem)
    return found


@contextmanager
def _strict() -> Iterator[None]:
    """Hide the library's warnings, but raise the one of a disk too small as UserWarning."""
    with warnings.catch_warnings(), quiet():
        # The library only warns of it, and then fills the disk.
        warnings.filterwarnings("error", message="Not enough free disk space")
        yield


def _sweep(folder: Path) -> None:
    """Remove what killed downloads have left: the library never goes on with such a file.

    The age decides, not the library's lock, which is free for everybody on some network disks.
    """
    for left in folder.glob("blobs/*.incomplete"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def names_on_the_hub(ref: ModelRef, revision: str) -> list[Path]:
    """Return the files of a repository: one request, which the library does not try again."""
    from huggingface_hub import HfApi

    information = HfApi().model_info(ref.repo or "", revision=revision)
    return [Path(file.rfilename) for file in information.siblings or ()]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's log off the terminal: what matters of it becomes an error here."""
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
    ref: ModelRef,
    *,
    offline: bool,
    weights: bool,
    progress: Progress,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Return the directory of a repository's files at one commit, fetching what is missing.

    What is cached whole is used without a look at the network if `offline`, if the environment
    says so, or if the revision is a commit, which never changes. Otherwise the Hub is asked once,
    and if it cannot be reached the cached copy serves.

    Raise ModelNotFound if the model does not exist, is not open to this user, or is not cached
    while the Hub is out of reach; BadInput for pickle weights; TuluError for a full disk.
    """
    offline = offline or is_offline()
    be_private()
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


def adapter_snapshot(ref: ModelRef, *, offline: bool, progress: Progress) -> Path:
    """Return the directory of an adapter's files at one commit, fetching what is missing.

    The network is used, and errors are raised, as by `snapshot`. Pickles are left where they are.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from tulu_cli.models.hub_errors import FOREIGN, translate, translated

    be_private()
    wanted: dict[str, Any] = {"revision": ref.revision, "allow_patterns": _ADAPTER}
    wanted["ignore_patterns"] = ["*.bin", "*.pt"]

    def kept() -> Path | None:
        with translated(full_name(ref)), suppress(LocalEntryNotFoundError):
            found = Path(snapshot_download(ref.repo or "", **wanted, local_files_only=True))
            return found if (found / "adapter_model.safetensors").is_file() else None
        return None

    offline = offline or is_offline()
    if (offline or is_commit(ref.revision)) and (found := kept()):
        return found
    if offline:
        raise _uncached(ref)
    bar = silent_bar(f"Downloading the adapter {ref.repo}", progress)
    try:
        with _strict():
            directory = Path(snapshot_download(ref.repo or "", **wanted, tqdm_class=bar))
    except FOREIGN as error:
        refusal = translate(error, full_name(ref))
        found = None if _is_final(error) else kept()
        if found:
            return found
        raise refusal from error
    if not (directory / "adapter_model.safetensors").is_file():
        with translated(full_name(ref)):
            names = names_on_the_hub(ref, directory.name)
        if has_only_pickles(names):
            raise only_pickles(full_name(ref))
    return directory


def _fetched(ref: ModelRef, *, weights: bool, progress: Progress) -> Path:
    from tulu_cli.models.hub_errors import FOREIGN, translate

    try:
        return _download(ref, weights=weights, progress=progress)
    except FOREIGN as error:
        refusal = translate(error, full_name(ref))
        found = None if _is_final(error) else cached(ref, weights=weights)
        if found:
            return found
        raise refusal from error


def _is_final(error: Exception) -> bool:
    """Return True if the Hub was reached and said no: an old copy must not hide that."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    return isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError, UserWarning))


def _not_cached(ref: ModelRef, *, weights: bool) -> TuluError:
    texts = cached(ref, weights=False) if weights else None
    if texts and has_only_pickles(texts.iterdir()):
        return only_pickles(full_name(ref))
    for directory in hub_folder(ref.repo or "").glob("snapshots/*"):
        if not (directory / "config.json").exists() and (
            refusal := adapter_refusal(directory, full_name(ref))
        ):
            return refusal
    return _uncached(ref)


def _uncached(ref: ModelRef) -> ModelNotFound:
    return ModelNotFound(
        f"{full_name(ref)} is not in the cache, or only in part, and we are offline: fetch it "
        "once without --offline and HF_HUB_OFFLINE."
    )


def _require_model(ref: ModelRef, directory: Path, *, weights: bool) -> None:
    """Raise BadInput or ModelNotFound if no engine could load what was fetched."""
    from tulu_cli.models.hub_errors import translated

    # A model without a tokenizer can still be planned for.
    missing = set(missing_files(directory, weights=weights)) - {"tokenizer.json"}
    if not missing:
        return
    if refusal := adapter_refusal(directory, full_name(ref)):
        raise refusal
    # This raises if the Hub is out of reach and an incomplete cached copy is all that there is.
    with translated(full_name(ref)):
        names = names_on_the_hub(ref, directory.name)
    if has_only_pickles(names):
        raise only_pickles(full_name(ref))
    raise ModelNotFound(
        f"{full_name(ref)} has no {listed(sorted(missing), 3)}: if it is a repository of GGUF "
        "files, download one of them and name that file."
    )
