"""The shape of a model: every number that decides its memory."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
KV_DTYPE_BYTES = {**DTYPE_BYTES, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}


class Latent(NamedTuple):
    """Multi-head latent attention: one compressed vector a token instead of keys and values.

    `rank` and `rope` are the sizes of its two parts, `nope` and `value` the head sizes that it is
    expanded to, `query_rank` the size that queries are compressed to, or None.
    """

    rank: int
    rope: int
    nope: int
    value: int
    query_rank: int | None


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: their number, those that a token visits, and the width of each.

    `shared` is the width of the expert that every token visits, 0 for none; `first` is the first
    layer with experts.
    """

    count: int
    active: int
    width: int
    shared: int = 0
    first: int = 0


class Traits(NamedTuple):
    """The differences of an architecture's layers from those of Llama.

    With `head_norm`, queries and keys are normalised one head at a time ("head") or all together
    ("full"). `ropes` is the number of tables of rotary positions that vLLM keeps.
    """

    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norm: Literal["none", "head", "full"] = "none"
    layer_norms: int = 2
    fused: bool = False
    ropes: int = 1


@dataclass(frozen=True)
class Shape:
    """The dimensions of a decoder.

    `windows` has the sliding window of each layer in tokens, or None for full attention.
    `positions` is the longest context in tokens, `kv_dtype` the data type that the checkpoint asks
    for its KV cache, None for that of the model. `labels` is the number of outputs of a reward
    model, None for a language model.
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    positions: int
    dtype: str
    tied: bool
    traits: Traits
    windows: tuple[int | None, ...]
    rotary_size: int
    latent: Latent | None = None
    experts: Experts | None = None
    labels: int | None = None
    kv_dtype: str | None = None

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one unquantized weight."""
        return DTYPE_BYTES[self.dtype]
