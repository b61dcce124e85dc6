"""The tensors of a checkpoint, one by one: from the model's shape, or from file headers."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

from tulu_cli.errors import BadInput
from tulu_cli.plan.quantization import Quantization, stored
from tulu_cli.plan.shape import Experts, Latent, Shape


class Tensor(NamedTuple):
    """One tensor as it is stored; `bits` are those of an element, which may be packed."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def size(self) -> int:
        """The size in bytes."""
        return -(-prod(self.shape) * self.bits // 8)


Named = tuple[str, tuple[int, ...]]


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
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    dense, sparse = list(_layer(shape, sparse=False)), list(_layer(shape, sparse=True))
    for index in range(shape.layers):
        experts = shape.experts is not None and index >= shape.experts.first
        yield from (
            (f"model.layers.{index}.{name}", size) for name, size in (sparse if experts else dense)
        )
    yield "model.norm.weight", (shape.hidden,)
    if shape.labels is not None:
        yield "score.weight", (shape.labels, shape.hidden)
    elif not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, shape.hidden)


def _layer(shape: Shape, *, sparse: bool) -> Iterator[Named]:
    latent, experts = shape.latent, shape.experts
    yield from _latent_attention(shape, latent) if latent else _attention(shape)
    if sparse and experts:
        yield from _experts(shape, experts)
    else:
        yield from _mlp(shape, "mlp", shape.intermediate)
    for index in range(shape.traits.layer_norms):
        yield f"layer_norm_{index}.weight", (shape.hidden,)


def _attention(shape: Shape) -> Iterator[Named]:
    traits, size = shape.traits, shape.head_size
    queries, keys = shape.heads * size, shape.kv_heads * size
    if traits.fused:
        yield "self_attn.qkv_proj.weight", (queries + 2 * keys, shape.hidden)
    else:
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield from _linear(f"self_attn.{name}", rows, shape.hidden, bias=traits.qkv_bias)
    yield from _linear("self_attn.o_proj", shape.hidden, queries, bias=traits.output_bias)
    if traits.head_norm != "none":
        whole = traits.head_norm == "full"
        yield "self_attn.q_norm.weight", (queries if whole else size,)
        yield "self_attn.k_norm.weight", (keys if whole else size,)


def _latent_attention(shape: Shape, latent: Latent) -> Iterator[Named]:
    queries = shape.heads * (latent.nope + latent.rope)
    if latent.query_rank:
        yield "self_attn.q_a_proj.weight", (latent.query_rank, shape.hidden)
        yield "self_attn.q_a_layernorm.weight", (latent.query_rank,)
        yield "self_attn.q_b_proj.weight", (queries, latent.query_rank)
    else:
        yield "self_attn.q_proj.weight", (queries, shape.hidden)
    yield "self_attn.kv_a_proj_with_mqa.weight", (latent.rank + latent.rope, shape.hidden)
    yield "self_attn.kv_a_layernorm.weight", (latent.rank,)
    expanded = shape.heads * (latent.nope + latent.value)
    yield "self_attn.kv_b_proj.weight", (expanded, latent.rank)
    yield "self_attn.o_proj.weight", (shape.hidden, shape.heads * latent.value)


def _mlp(shape: Shape, name: str, width: int) -> Iterator[Named]:
    bias = shape.traits.mlp_bias
    if shape.traits.fused:
        yield f"{name}.gate_up_proj.weight", (2 * width, shape.hidden)
    else:
        yield from _linear(f"{name}.gate_proj", width, shape.hidden, bias=bias)
        yield from _linear(f"{name}.up_proj", width, shape.hidden, bias=bias)
    yield from _linear(f"{name}.down_proj", shape.hidden, width, bias=bias)


def _experts(shape: Shape, experts: Experts) -> Iterator[Named]:
    """Yield the experts stacked, as an engine holds them."""
    yield "mlp.gate.weight", (experts.count, shape.hidden)
    yield "mlp.experts.gate_up_proj.weight", (experts.count, 2 * experts.width, shape.hidden)
    yield "mlp.experts.down_proj.weight", (experts.count, shape.hidden, experts.width)
    if experts.shared:
        yield from _mlp(shape, "mlp.shared_experts", experts.shared)


def _linear(name: str, rows: int, columns: int, *, bias: bool) -> Iterator[Named]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


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

    Raise BadInput for a data type that safetensors does not have.
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
