"""The headers of safetensors files: the names, types and shapes of the tensors, never the weights.

A file begins with eight bytes, the length of a JSON object that follows them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.models.config import missing_weights
from tulu_cli.models.reference import ModelRef

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
            if length > _MOST_HEADER_BYTES:
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


TensorHeader = tuple[str, str, tuple[int, ...]]
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit


def directory_headers(directory: Path) -> list[TensorHeader]:
    """Every tensor of a directory's weights; none where the weights are not there whole.

    Raises BadInput for a file that is cut short or damaged.
    """
    if missing_weights(directory):
        return []
    return [
        header for path in sorted(directory.glob("*.safetensors")) for header in read_headers(path)
    ]


def read_headers(path: Path) -> Iterator[TensorHeader]:
    """The tensors of one file. Raises BadInput, which says what is wrong."""
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            length = int.from_bytes(start, "little")
            if len(start) < _LENGTH_BYTES or length > _MOST_HEADER_BYTES:
                raise BadInput(f"{str(path)!r} is no safetensors file, or is cut short.")
            text = file.read(length)
            size = file.seek(0, 2)
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    if len(text) < length:
        raise BadInput(
            f"{str(path)!r} is cut short: its header has {len(text):,} of {length:,} bytes."
        )
    return _tensors(path, text, size - _LENGTH_BYTES - length)


def hub_headers(ref: ModelRef) -> list[TensorHeader]:
    """The tensors of a repository on the Hub, by range requests: none where it has no such files.

    Raises ModelNotFound or TuluError where the Hub refuses or is out of reach.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    from tulu_cli.models.hub import full_name
    from tulu_cli.models.hub_errors import translated

    with translated(full_name(ref)):
        try:
            found = HfApi().get_safetensors_metadata(ref.repo or "", revision=ref.revision)
        except NotASafetensorsRepoError:
            return []
    return [
        (name, str(tensor.dtype), tuple(tensor.shape))
        for file in found.files_metadata.values()
        for name, tensor in file.tensors.items()
    ]


def _tensors(path: Path, text: bytes, size: int) -> Iterator[TensorHeader]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise BadInput(f"The header of {str(path)!r} is not JSON: {error}.") from error
    if not isinstance(header, dict):
        raise BadInput(f"The header of {str(path)!r} is not a JSON object.")
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, *_checked(path, name, tensor, size)


def _checked(path: Path, name: str, tensor: Any, size: int) -> tuple[str, tuple[int, ...]]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise BadInput(f"The header of {str(path)!r} has no shape for the tensor {name!r}.")
    offsets = tensor.get("data_offsets")
    end = offsets[-1] if isinstance(offsets, list) and offsets else 0
    if not isinstance(end, int) or end > size:
        raise BadInput(f"{str(path)!r} is cut short: it ends within the tensor {name!r}.")
    return str(tensor.get("dtype")), tuple(shape)
