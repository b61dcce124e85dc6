"""The headers of safetensors files: the names, types and shapes of the tensors, never the weights.

A file begins with eight bytes, the length of a JSON object that follows them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tulu_cli.disk import reading, refuse_pointer
from tulu_cli.errors import BadInput
from tulu_cli.models.config import missing_weights, weight_files
from tulu_cli.models.reference import ModelRef
from tulu_cli.text import told

TensorHeader = tuple[str, str, tuple[int, ...]]
"""The name, the type ("BF16") and the shape of a tensor."""

_LENGTH_BYTES = 8
_MOST_DIMENSIONS = 8  # those of a weight are 1 to 3, and of a convolution 5
_LEAST_BITS = 8  # weights that fit into a byte at the most
_MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit


@dataclass(frozen=True, slots=True)
class Weights:
    """What a directory's safetensors files hold; `dtypes` has the commonest first ("BF16")."""

    parameters: int
    bytes: int
    dtypes: tuple[str, ...]


def count_weights(directory: Path) -> Weights:
    """Add up the headers of the files that an engine loads. Raise BadInput for a damaged file."""
    counts: Counter[str] = Counter()
    files = weight_files(directory)
    for path in files:
        for _, dtype, shape in read_headers(path):
            counts[dtype] += prod(shape)
    total = sum(path.stat().st_size for path in files)
    return Weights(counts.total(), total, tuple(dtype for dtype, _ in counts.most_common()))


def directory_headers(directory: Path) -> list[TensorHeader]:
    """Return every tensor of a directory's weights, none if the weights are incomplete.

    Raise BadInput for a file that is cut short or damaged.
    """
    if missing_weights(directory):
        return []
    return [header for path in weight_files(directory) for header in read_headers(path)]


def read_headers(path: Path) -> Iterator[TensorHeader]:
    """Yield the tensors of one file. Raise BadInput, which says what is wrong with it."""
    refuse_pointer(path)
    with reading(path), path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        text = file.read(min(length, _MOST_HEADER_BYTES))
        size = file.seek(0, 2) - _LENGTH_BYTES - length
    if len(text) < length:
        raise _damaged(path, f"its header has {len(text):,} of {length:,} bytes")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, *_checked(path, name, tensor, size)


def hub_headers(ref: ModelRef) -> list[TensorHeader]:
    """Return the tensors of a repository on the Hub, none if it has no safetensors files.

    Only the headers are fetched, by range requests. Raise ModelNotFound or TuluError if the Hub
    refuses or is out of reach.
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
    headers = [
        (name, str(tensor.dtype), tuple(tensor.shape))
        for file in found.files_metadata.values()
        for name, tensor in file.tensors.items()
    ]
    if not all(_is_shape(shape) for _, _, shape in headers):
        raise BadInput(f"{full_name(ref)} has a tensor on the Hub whose shape cannot be.")
    return headers


def _checked(path: Path, name: str, tensor: Any, size: int) -> tuple[str, tuple[int, ...]]:
    """Return the type and the shape of a tensor of a file that has `size` bytes of data."""
    entry = tensor if isinstance(tensor, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        raise _damaged(path, f"its header gives no type for the tensor {told(name)}")
    if not isinstance(shape, list) or not _is_shape(shape):
        raise _damaged(path, f"its header gives no shape for the tensor {told(name)}")
    end = offsets[-1] if isinstance(offsets, list) and offsets else 0
    if not isinstance(end, int) or end > size or prod(shape) > _LEAST_BITS * size:
        raise _damaged(path, f"it ends within the tensor {told(name)}")
    return dtype, tuple(shape)


def _is_shape(shape: Sequence[Any]) -> bool:
    return len(shape) <= _MOST_DIMENSIONS and all(type(n) is int and 0 <= n < 2**63 for n in shape)


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{str(path)!r} is cut short, or is not a safetensors file ({why}): fetch it again."
    )
