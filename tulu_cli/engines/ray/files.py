"""A model's files, named so that a worker on another machine finds the very same ones."""

from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from tulu_cli.disk import reading
from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import ModelRef, locate
from tulu_cli.models.config import missing_weights

_OF_MODELS = {".safetensors", ".json", ".jinja", ".model"}
_PIECES, _PIECE_BYTES = 64, 2**16  # of each file that are looked at, all over it


@dataclass(frozen=True, slots=True)
class Files:
    """A model's files, as the driver has them in `directory`.

    `ref` is of the Hub with the very commit, which names equal files wherever they are. Of any
    other model `sample` says which files they are.
    """

    ref: ModelRef
    directory: Path
    sample: str | None = None

    @classmethod
    def of(cls, ref: ModelRef, directory: Path) -> "Files":
        """Return the files of a model that is in a directory here. Raise BadInput."""
        if ref.kind == "hub":
            return cls(replace(ref, revision=directory.name), directory)
        return cls(ref, directory, None if ref.kind == "demo" else sampled(directory))

    def here(self) -> Path:
        """Return where these files are on this machine, by their place or in its caches.

        Raise ModelNotFound if they are not, or if others are there.
        """
        name, directory = self.ref.name, self.directory
        try:
            if not (directory / "config.json").is_file() or missing_weights(directory):
                directory = locate(self.ref, offline=True).directory
            sample = None if self.sample is None else sampled(directory)
        except (TuluError, OSError) as error:
            raise ModelNotFound(
                f"{name} is neither in {self.directory} nor in the cache of that machine."
            ) from error
        if sample != self.sample:
            raise ModelNotFound(
                f"{directory} has other files there than here, so it is not {name}."
            )
        return directory


def sampled(directory: Path) -> str:
    """Return a hash of a model's files: their names and sizes, and pieces of all their bytes.

    Small files are read whole. Times do not count: copies on other machines have their own. Raise
    BadInput for a file that cannot be read.
    """
    found = sha256()
    with reading(directory):
        for path in sorted(directory.iterdir()):
            if path.suffix not in _OF_MODELS or not path.is_file():
                continue
            size = path.stat().st_size
            found.update(f"{path.name} {size}\n".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                for start in range(0, size, max(size // _PIECES, _PIECE_BYTES)):
                    file.seek(start)
                    found.update(file.read(_PIECE_BYTES))
    return found.hexdigest()
