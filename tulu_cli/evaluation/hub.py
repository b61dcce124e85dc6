"""Files of datasets on the Hugging Face Hub, each fetched once, by its commit and its hash."""

from dataclasses import dataclass
from pathlib import Path

from tulu_cli.errors import ModelNotFound
from tulu_cli.models.cache import build_once
from tulu_cli.models.demo import require_hash
from tulu_cli.models.hub import is_offline
from tulu_cli.streams import Progress

FOLDER = "evaluation"  # of the cache: where the rows of the benchmarks are


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a dataset on the Hub, by its commit, and by the SHA-256 of what it is there."""

    repo: str
    commit: str
    name: str
    sha256: str


def fetch(file: HubFile, folder: str, name: str, *, offline: bool, progress: Progress) -> None:
    """Have a file in a folder of the cache of evaluation data, by that name.

    Raise ModelNotFound if it cannot be fetched, BadInput if its bytes are not the expected ones,
    and TuluError if the cache cannot be written.
    """

    def make(staging: Path) -> Path:
        if offline or is_offline():
            raise ModelNotFound(
                f"The rows of {file.repo} are not in the cache, and we are offline: give --data."
            )
        progress(f"Downloading the rows of {file.repo}", 0, 0)
        found = _download(file, staging / "download")
        require_hash(found, file.sha256)
        kept = staging / "rows"
        kept.mkdir()
        found.rename(kept / name)
        return kept

    def is_whole(path: Path) -> bool:
        return (path / name).is_file()

    build_once(folder, make, progress, folder=FOLDER, is_whole=is_whole)


def _download(file: HubFile, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download

    from tulu_cli.models.hub_errors import translated

    with translated(f"{file.repo} (a dataset)"):
        found = hf_hub_download(
            file.repo, file.name, repo_type="dataset", revision=file.commit, local_dir=folder
        )
    return Path(found)
