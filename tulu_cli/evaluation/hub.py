"""Datasets on the Hugging Face Hub as files of rows: by their commit, and by a hash of ours."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.evaluation.files import Files, write
from tulu_cli.machine import install
from tulu_cli.models.demo import require_hash
from tulu_cli.models.hub import is_offline, quiet, silent_bar
from tulu_cli.streams import Progress


@dataclass(frozen=True, slots=True)
class HubRows:
    """Files of a dataset at a commit, and what is made of them: the rows of `files`.

    `sha256` is the SHA-256 of the only file. Where it is not known, `made_sha256` is that of the
    first of the files of rows.
    """

    repo: str
    commit: str
    names: tuple[str, ...]
    files: tuple[str, ...]
    rows: Callable[[Sequence[Path]], Files]
    sha256: str | None = None
    made_sha256: str | None = None

    @property
    def folder(self) -> str:
        """Return the name of the folder of the cache that keeps the rows."""
        return f"{self.repo.replace('/', '--')}-{self.commit[:12]}"

    @property
    def origin(self) -> str:
        """Return where the rows are from, for people."""
        return f"the Hub at {self.commit[:12]}"

    def build(self, staging: Path, *, offline: bool, progress: Progress) -> Path:
        """Return a folder with the rows, made of the files, which are fetched.

        Raise ModelNotFound if they cannot be fetched, TuluError if what reads them is missing, and
        BadInput if they are not the expected ones.
        """
        if offline or is_offline():
            raise ModelNotFound(
                f"The rows of {self.repo} are not in the cache, and we are offline: give --data."
            )
        if self.names[0].endswith(".parquet") and find_spec("pyarrow") is None:
            raise TuluError(f"The rows of {self.repo} need pyarrow: {install('eval')}.")
        fetched = self._download(staging / "download", progress)
        if self.sha256 is not None:
            require_hash(fetched[0], self.sha256)
        made = staging / "rows"
        made.mkdir()
        write(made, self.rows(fetched))
        if self.made_sha256 is not None:
            self._require_rows(made / self.files[0], self.made_sha256)
        return made

    def _download(self, folder: Path, progress: Progress) -> list[Path]:
        from huggingface_hub import hf_hub_download

        from tulu_cli.models.hub_errors import translated

        stage = f"Downloading the rows of {self.repo}"
        progress(stage, 0, 0)
        with translated(f"{self.repo} (a dataset)"), quiet():
            return [
                Path(
                    hf_hub_download(
                        self.repo,
                        name,
                        repo_type="dataset",
                        revision=self.commit,
                        local_dir=folder,
                        tqdm_class=silent_bar(stage, progress),
                    )
                )
                for name in self.names
            ]

    def _require_rows(self, path: Path, sha256: str) -> None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise BadInput(
                f"The rows of {self.repo} are not the expected ones (SHA-256 {found[:12]}... and "
                f"not {sha256[:12]}...): they were not used. Fetch them again."
            )
