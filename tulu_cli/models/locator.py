"""From a name to a directory that an engine can load, fetching and converting what is needed."""

import os
from pathlib import Path

from tulu_cli.models.config import ModelFiles, read_files, require_weights
from tulu_cli.models.family import demo_source
from tulu_cli.models.progress import Progress, Say, no_progress
from tulu_cli.models.reference import ModelRef


def locate(
    ref: ModelRef,
    *,
    offline: bool = False,
    weights: bool = True,
    progress: Progress = no_progress,
    say: Say | None = None,
) -> ModelFiles:
    """Make the files of a model be here, and say where.

    `weights` False asks only for the configs and the tokenizer. `offline`, or HF_HUB_OFFLINE in
    the environment, opens no socket. A GGUF file, the demo's too, is converted once into the
    user's cache, in a child process. `say` is told the licence and the limits of the Tülu 3 models
    before the first of them is downloaded.

    Raises ModelNotFound where the files are not here and cannot be had, BadInput where they
    cannot be used, NoEngine where a GGUF file needs libraries that are not installed, and
    TuluError where the disk or the Hub fails.
    """
    offline = offline or _told_to_stay_offline()
    if ref.kind == "hub":
        from tulu_cli.models.hub import snapshot

        directory = snapshot(ref, offline=offline, weights=weights, progress=progress, say=say)
        return read_files(ref, directory, directory.name)
    if ref.kind == "demo":
        from tulu_cli.models.demo import demo_directory

        directory = demo_directory(offline=offline, progress=progress)
        return read_files(ref, directory, demo_source().gguf_sha256)
    return read_files(ref, _on_disk(ref, weights=weights, progress=progress))


def _on_disk(ref: ModelRef, *, weights: bool, progress: Progress) -> Path:
    if ref.path is None:
        raise ValueError(f"a {ref.kind} model has a path")
    if ref.kind == "gguf":
        from tulu_cli.models.gguf import converted_file

        return converted_file(ref.path, progress)
    if weights:
        require_weights(ref.path, ref.name)
    return ref.path


def _told_to_stay_offline() -> bool:
    """The Hub library's own switches, read now: it reads them only once, when it is imported."""
    told = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return told.upper() in {"1", "ON", "YES", "TRUE"}
