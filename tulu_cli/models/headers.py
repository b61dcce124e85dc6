"""The headers of safetensors files: how many weights, of which types. No weight is read."""

import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput

# The limit of the format itself; the length of the header is the file's first eight bytes.
_MOST_BYTES = 100_000_000
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a directory's safetensors files hold; `dtypes` has the commonest first ("BF16")."""

    parameters: int
    bytes: int
    dtypes: tuple[str, ...]


def count_weights(directory: Path) -> Weights:
    """Add up the headers of a directory's files. Raises BadInput for what is broken."""
    counts: Counter[str] = Counter()
    files = sorted(path for path in directory.glob("*.safetensors") if path.is_file())
    for path in files:
        for tensor in _header(path).values():
            counts[tensor["dtype"]] += prod(tensor["shape"])
    total = sum(path.stat().st_size for path in files)
    return Weights(counts.total(), total, tuple(dtype for dtype, _ in counts.most_common()))


def _header(path: Path) -> dict[str, Any]:
    """The tensors by name, each with its dtype and shape."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _MOST_BYTES:
                raise ValueError
            document = json.loads(file.read(length))
        if not _is_header(document):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{str(path)!r} is no safetensors file: fetch it again.") from error
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    return {name: tensor for name, tensor in document.items() if name != _METADATA}


def _is_header(document: Any) -> bool:
    return isinstance(document, dict) and all(
        name == _METADATA or _is_tensor(tensor) for name, tensor in document.items()
    )


def _is_tensor(tensor: Any) -> bool:
    return (
        isinstance(tensor, dict)
        and isinstance(tensor.get("dtype"), str)
        and isinstance(tensor.get("shape"), list)
        and all(type(size) is int for size in tensor["shape"])
    )
