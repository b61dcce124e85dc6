"""The tensors of a real checkpoint, from its files' headers, as an engine will load them."""

from collections.abc import Iterable
from dataclasses import dataclass

from tulu_cli.errors import BadInput
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.tensors import Tensor

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


@dataclass(frozen=True, slots=True)
class Header:
    """One tensor as a file's header names it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def loaded(headers: Iterable[Header], shape: Shape) -> tuple[Tensor, ...]:
    """The tensors as an engine loads them: plain weights in the data type of `shape`.

    Raises BadInput for a data type that safetensors does not have.
    """
    headers = list(headers)
    quantized = {_module(header.name) for header in headers if header.dtype not in _FLOATS}
    found = []
    for header in headers:
        if header.dtype not in BITS:
            raise BadInput(f"The tensor {header.name} has the unknown data type {header.dtype!r}.")
        plain = header.dtype in _FLOATS and _module(header.name) not in quantized
        as_loaded = plain and header.name.endswith(_WHOLE)
        bits = 8 * shape.dtype_bytes if as_loaded else BITS[header.dtype]
        found.append(Tensor(header.name, header.shape or (1,), bits))
    return tuple(found)


def _module(name: str) -> str:
    return name.rpartition(".")[0]
