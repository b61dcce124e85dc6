"""Converting a GGUF file once: the parent's side, which never imports PyTorch."""

import hashlib
import os
import re
from importlib.util import find_spec
from pathlib import Path

from tulu_cli.dependencies import install
from tulu_cli.errors import ModelNotFound, NoEngine
from tulu_cli.models.cache import build_once
from tulu_cli.models.child import run_conversion
from tulu_cli.models.disk import require_space
from tulu_cli.models.gguf_header import read_header
from tulu_cli.models.progress import Progress

# Part of every key: raise it when a conversion would come out different from before.
_FORMAT = 1
_BYTES_PER_WEIGHT = 2  # bfloat16
_TOKENIZER_BYTES = 64 * 2**20
_NEEDED = ("torch", "transformers", "gguf")


def converted_file(path: Path, progress: Progress) -> Path:
    """The safetensors directory made from a user's GGUF file, now or earlier.

    Raises BadInput, NoEngine, DoesNotFit or TuluError as `convert` does.
    """
    target = file_target(path)
    return build_once(target, lambda staging: convert(path, staging, progress), progress)


def file_target(path: Path) -> str:
    """The folder name for the conversion of a user's file.

    A file that has moved, grown or been written again is another file.
    Raises ModelNotFound where there is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelNotFound(f"{str(path)!r} is not there: {error.strerror or error}.") from error
    identity = f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    return target_name(path.stem, identity)


def target_name(name: str, identity: str) -> str:
    """The folder name for a conversion: readable, safe, and of nothing else with that identity."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60]
    key = hashlib.sha256(f"{_FORMAT}\0{identity}".encode(errors="surrogateescape")).hexdigest()
    return f"{readable}-{key[:16]}"


def convert(source: Path, staging: Path, progress: Progress) -> Path:
    """Build the safetensors directory of `source` inside `staging`.

    Raises BadInput for a file that is damaged or no GGUF, NoEngine where a library is missing,
    DoesNotFit where memory runs out, and TuluError for a full disk or an unknown architecture.
    """
    needed = read_header(source).parameters * _BYTES_PER_WEIGHT + _TOKENIZER_BYTES
    require_libraries()
    require_space(staging, needed, f"Converting {source.name!r}")
    # Alone in its folder: beside the user's file there may be another model's config.json.
    alone = staging / "source" / "model.gguf"
    alone.parent.mkdir()
    alone.symlink_to(os.path.realpath(source))
    return run_conversion(alone, staging / "model", source.name, needed, progress)


def require_libraries() -> None:
    """Raise NoEngine, which says what to install, where a conversion is not possible."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise NoEngine(f"A GGUF model needs {', '.join(missing)}: {install('transformers')}.")
