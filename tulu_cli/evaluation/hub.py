"""Datasets on the Hugging Face Hub as files of rows: by their commit, and by a hash of ours."""

import errno
import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tulu_cli.disk import require_space
from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.evaluation.files import Files, write
from tulu_cli.machine import install
from tulu_cli.models.demo import require_hash
from tulu_cli.models.hub import be_private, quiet, silent_bar
from tulu_cli.streams import Progress

_NEEDED_BYTES = 64 * 2**20  # more than any of the datasets takes with the rows made of it


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

    def check(self, *, offline: bool) -> None:
        """Raise TuluError if what reads the files is missing.

        Raise ModelNotFound if we are offline and the user's cache of the Hub has not all of them.
        """
        if self.names[0].endswith(".parquet") and find_spec("pyarrow") is None:
            raise TuluError(f"The rows of {self.repo} need pyarrow: {install('eval')}.")
        if offline:
            self._kept()

    def build(self, staging: Path, *, offline: bool, progress: Progress) -> Path:
        """Return a folder with the rows, made of the files, which are fetched.

        If we are offline, they are those of the user's own cache of the Hub. Raise ModelNotFound if
        they cannot be fetched, and BadInput if they are not the expected ones.
        """
        require_space(staging, _NEEDED_BYTES, f"The rows of {self.repo}", "TULU_CACHE_DIR")
        fetched = self._kept() if offline else self._download(staging / "download", progress)
        if self.sha256 is not None:
            require_hash(fetched[0], self.sha256)
        made = staging / "rows"
        made.mkdir()
        write(made, self.rows(fetched))
        if self.made_sha256 is not None:
            self._require_rows(made / self.files[0], self.made_sha256)
        return made

    def _kept(self) -> list[Path]:
        """Return the files of the user's own cache of the Hub. Raise ModelNotFound."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return self._found(local_files_only=True)
        except LocalEntryNotFoundError as error:
            raise ModelNotFound(
                f"The rows of {self.repo} are not in the cache, and we are offline: give --data."
            ) from error

    def _download(self, folder: Path, progress: Progress) -> list[Path]:
        """Fetch the files. Raise TuluError, and OSError for a full disk, which is the cache's."""
        from tulu_cli.models.hub_errors import FOREIGN, translate

        stage = f"Downloading the rows of {self.repo}"
        progress(stage, 0, 0)
        try:
            with warnings.catch_warnings(), quiet():
                # The library only warns of it, and then fills the disk.
                warnings.filterwarnings("error", message="Not enough free disk space")
                return self._found(local_dir=folder, tqdm_class=silent_bar(stage, progress))
        except FOREIGN as error:
            if isinstance(error, UserWarning):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise translate(error, f"{self.repo} (a dataset)") from error

    def _found(self, **how: Any) -> list[Path]:
        """Return what the Hub's library has, or gets, of the files. Raise what it raises."""
        be_private()
        from huggingface_hub import hf_hub_download

        get = partial(hf_hub_download, self.repo, repo_type="dataset", revision=self.commit, **how)
        return [Path(get(name)) for name in self.names]

    def _require_rows(self, path: Path, sha256: str) -> None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise BadInput(
                f"The rows of {self.repo} are not the expected ones (SHA-256 {found[:12]}... and "
                f"not {sha256[:12]}...): they were not used. Fetch them again."
            )
