"""The tensors of a checkpoint, one by one: from the model's shape, or from file headers."""

import re
from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

from tulu_cli.errors import BadInput
from tulu_cli.plan.quantization import Quantization, stored
from tulu_cli.plan.shape import Named, Shape


class Tensor(NamedTuple):
    """One tensor as it is stored; `bits` are those of an element, which may be packed."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def size(self) -> int:
        """The size in bytes."""
        return -(-prod(self.shape) * self.bits // 8)


def tensors_of(shape: Shape, quantization: Quantization | None = None) -> tuple[Tensor, ...]:
    """Return every tensor of a checkpoint with this shape, embeddings first and head last."""
    found: list[Tensor] = []
    bits = 8 * shape.dtype_bytes
    for name, dimensions in _names(shape):
        parts = stored(quantization, name, dimensions)
        if parts is None:
            found.append(Tensor(name, dimensions, bits))
            continue
        module = name.removesuffix(".weight")
        found += [Tensor(f"{module}.{part}", size, width) for part, size, width in parts]
    return tuple(found)


def _names(shape: Shape) -> Iterator[Named]:
    yield from shape.front
    yield f"{shape.prefix}.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for index, layer in enumerate(shape.decoder):
        at = f"{shape.prefix}.layers.{index}."
        yield from ((at + name, size) for name, size in layer.weights)
    yield from shape.back
    if shape.labels is not None:
        yield "score.weight", (shape.labels, shape.hidden)
    elif not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, shape.hidden)


# safetensors' names of data types, in bits.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F4", "F6_E2M3", "F6_E3M2"), 8),
}
_FLOATS = ("F16", "BF16", "F32", "F64")
_WHOLE = (".weight", ".bias")


class Header(NamedTuple):
    """One tensor of the header of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def loaded(headers: Iterable[Header], shape: Shape) -> tuple[Tensor, ...]:
    """Return the tensors as an engine loads them: plain weights in the data type of `shape`.

    What is only for speculative decoding is left out.
    Raise BadInput for a data type that safetensors does not have.
    """
    headers = list(headers)
    quantized = {_module(header.name) for header in headers if header.dtype not in _FLOATS}
    found = []
    for header in headers:
        if _is_draft(header.name, shape.layers):
            continue
        if header.dtype not in BITS:
            raise BadInput(f"The tensor {header.name} has the unknown data type {header.dtype!r}.")
        plain = header.dtype in _FLOATS and _module(header.name) not in quantized
        as_loaded = plain and header.name.endswith(_WHOLE)
        bits = 8 * shape.dtype_bytes if as_loaded else BITS[header.dtype]
        found.append(Tensor(header.name, header.shape or (1,), bits))
    return tuple(found)


# Heads that predict several tokens: Qwen's, and after the last layer those of DeepSeek and GLM.
# Engines load them only as a draft.
_DRAFT = re.compile(r"(?:\w+\.)*mtp\.")
_NUMBERED = re.compile(r"model\.layers\.(\d{1,9})\.")


def _is_draft(name: str, layers: int) -> bool:
    numbered = _NUMBERED.match(name)
    return bool(_DRAFT.match(name)) or (numbered is not None and int(numbered[1]) >= layers)


def _module(name: str) -> str:
    return name.rpartition(".")[0]
