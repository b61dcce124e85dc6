"""Models: what a name means, and where its files are. Importing this loads the standard library."""

from collections.abc import Callable
from pathlib import Path

from tulu_cli.models.config import ModelFiles, read_files, require_weights
from tulu_cli.models.family import DEMO, FAMILY, TULU_SYSTEM_PROMPT, FamilyModel
from tulu_cli.models.reference import ModelRef, resolve
from tulu_cli.streams import Progress, no_progress

__all__ = [
    "FAMILY",
    "TULU_SYSTEM_PROMPT",
    "FamilyModel",
    "ModelFiles",
    "ModelRef",
    "Progress",
    "locate",
    "no_progress",
    "resolve",
]


def locate(
    ref: ModelRef,
    *,
    offline: bool = False,
    weights: bool = True,
    progress: Progress = no_progress,
    say: Callable[[str], None] | None = None,
) -> ModelFiles:
    """Return the files of a model, fetched and converted as far as they are not on this machine.

    `weights` False asks only for the configs and the tokenizer. `offline`, or HF_HUB_OFFLINE in
    the environment, opens no socket. A GGUF file, the demo's too, is converted once into the
    user's cache, in a child process. `say` gets the licence and the limits of the Tülu 3 models
    before the first of them is downloaded.

    Raise ModelNotFound if the files cannot be had, BadInput if they cannot be used, NoEngine if a
    GGUF file needs libraries that are not installed, and TuluError if the disk or the Hub fails.
    """
    if ref.kind == "hub":
        from tulu_cli.models.hub import snapshot

        directory = snapshot(ref, offline=offline, weights=weights, progress=progress, say=say)
        return read_files(ref, directory, directory.name)
    if ref.kind == "demo":
        from tulu_cli.models.demo import demo_directory

        directory = demo_directory(offline=offline, progress=progress)
        return read_files(ref, directory, DEMO.gguf_sha256)
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
