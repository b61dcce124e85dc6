"""The tensors of a model's checkpoint, one by one, as its shape and its quantization say."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from tulu_cli.plan.quantization import Quantization, stored
from tulu_cli.plan.shape import Experts, Latent, Shape


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as it is stored: `bits` are those of an element, a packed one included."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def size(self) -> int:
        """Bytes."""
        return -(-prod(self.shape) * self.bits // 8)


Named = tuple[str, tuple[int, ...]]


def tensors_of(shape: Shape, quantization: Quantization | None = None) -> tuple[Tensor, ...]:
    """Every tensor of a checkpoint with this shape, embeddings first and head last."""
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
    """The experts stacked, as an engine holds them."""
    yield "mlp.gate.weight", (experts.count, shape.hidden)
    yield "mlp.experts.gate_up_proj.weight", (experts.count, 2 * experts.width, shape.hidden)
    yield "mlp.experts.down_proj.weight", (experts.count, shape.hidden, experts.width)
    if experts.shared:
        yield from _mlp(shape, "mlp.shared_experts", experts.shared)


def _linear(name: str, rows: int, columns: int, *, bias: bool) -> Iterator[Named]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)
