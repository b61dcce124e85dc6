"""How a row of an architecture's differences is read into the layers of a decoder.

The rows are in architectures.py and families.py. A row says what differs from Llama; the sizes are
those of config.json.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tulu_cli.errors import TuluError
from tulu_cli.plan.fields import (
    EXPERT_COUNTS,
    Config,
    FieldError,
    count,
    each_layer,
    flag,
    number,
    optional,
)
from tulu_cli.plan.layers import (
    Attention,
    Feed,
    Mixture,
    attention,
    joined,
    latent_attention,
    mixture,
    mlp,
    norms,
)
from tulu_cli.plan.shape import Experts, Keys, Latent, Layer, Named, Sight
from tulu_cli.text import told

_MOST_LAYERS = 2048
FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"


class UnknownArchitecture(TuluError):
    """The model has an architecture whose memory the planner cannot count."""


Kinds = Callable[[Config, int], Sequence[str]]
"""The kind of each layer, from a config and the number of layers."""


def every_full(_config: Config, layers: int) -> list[str]:
    """Return full attention for each layer."""
    return [FULL] * layers


def every_sliding(config: Config, layers: int) -> list[str]:
    """Return a sliding window for each layer, if the config has one."""
    return [SLIDING if optional(config, "sliding_window") else FULL] * layers


def upper_sliding(config: Config, layers: int) -> list[str]:
    """Return the kinds of Qwen2, whose windows begin at the layer `max_window_layers`."""
    if not config.get("use_sliding_window") or not optional(config, "sliding_window"):
        return [FULL] * layers
    first = number(config, "max_window_layers", layers, least=0)
    return [SLIDING if index >= first else FULL for index in range(layers)]


def each_nth_full(every: int, key: str = "sliding_window_pattern") -> Kinds:
    """Return a reader for Gemma: each `every`-th layer has full attention, the others a window."""

    def kinds(config: Config, layers: int) -> list[str]:
        period = number(config, key, every)
        return [FULL if (index + 1) % period == 0 else SLIDING for index in range(layers)]

    return kinds


class Sparse(NamedTuple):
    """Where an architecture has experts.

    `read` reads them from a config, `layers` says of a layer whether it has them, by default each
    from the first on.
    """

    read: Callable[[Config], Experts | None]
    how: Mixture = Mixture()
    layers: Callable[[Config, int], bool] | None = None


class Architecture(NamedTuple):
    """The differences of an architecture from Llama.

    Where a bias or a feature is optional, the text is its key in config.json. `mixers` read the
    layers of other kinds than attention. `attend` and `feed_forward` read a part of a layer that
    has a form of its own, given the kind or the number of the layer, and `layers` all layers.
    `front` and `back` read weights that stand before and behind the layers, `images` what its
    images take, given the config of their processor too, and `idle` what vLLM does not load. With
    `partial`, the sizes of an encoder are in no config, and only headers have them.

    `text` is the key of the language model's own config, and `prefix` the name of its module; where
    several language models may stand there, `texts` has their architectures by their model_type.
    `renamed` has the keys by which config.json calls fields, and `derived` returns those that
    follow from others.
    """

    qkv_bias: bool | str = "attention_bias"
    output_bias: bool | str = "attention_bias"
    mlp_bias: bool | str = "mlp_bias"
    how: Attention = Attention()
    head_norm: str | None = None
    full_norm: str | None = None
    latent: bool = False
    kinds: Kinds = every_full
    feed: Feed = "gated"
    sparse: Sparse | None = None
    norms: int = 2
    norm_bias: bool = False
    final_norm: bool = True
    head_bias: bool | str = False
    ropes: int = 1
    tied: bool = False
    reward: bool = False
    whole_vocabulary: bool = False
    mixers: Mapping[str, Callable[[Config], Layer]] = {}
    attend: Callable[[Config, str, int], Layer] | None = None
    feed_forward: Callable[[Config, int], Layer] | None = None
    beside: Callable[[Config, int], Layer] | None = None
    layers: Callable[[Config], Sequence[Layer]] | None = None
    front: Callable[[Config], list[Named]] | None = None
    back: Callable[[Config], list[Named]] | None = None
    idle: Callable[[Config], tuple[str, ...]] | None = None
    partial: bool = False
    images: Callable[[Config, Config], Sight | None] | None = None
    text: str | None = None
    texts: Mapping[str, str] = {}
    prefix: str = "model"
    renamed: Mapping[str, str] = {}
    derived: Callable[[Config], Mapping[str, Any]] | None = None


def expert_count(config: Config, named: str) -> int:
    """Return the number of experts, 0 for a model without them, by its own name or another."""
    key = next((key for key in (named, *EXPERT_COUNTS) if config.get(key) is not None), named)
    return count(config, key)


def mixtral_experts(config: Config) -> Experts:
    """Return the experts of Mixtral, whose width is that of the network that they replace."""
    return Experts(
        expert_count(config, "num_local_experts"),
        number(config, "num_experts_per_tok"),
        number(config, "intermediate_size"),
    )


def qwen_experts(config: Config) -> Experts:
    """Return the experts of Qwen."""
    return Experts(
        expert_count(config, "num_experts"),
        number(config, "num_experts_per_tok"),
        number(config, "moe_intermediate_size"),
    )


def is_qwen_sparse(config: Config, index: int) -> bool:
    """Return True if a layer of Qwen has experts."""
    dense = config.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise FieldError(f"has a mlp_only_layers of {told(dense)}")
    return index not in dense and (index + 1) % number(config, "decoder_sparse_step", 1) == 0


def deepseek_experts(config: Config) -> Experts | None:
    """Return the experts of DeepSeek, None for a model that has none."""
    if not (routed := expert_count(config, "n_routed_experts")):
        return None
    width = number(config, "moe_intermediate_size")
    return Experts(
        routed,
        number(config, "num_experts_per_tok"),
        width,
        width * (optional(config, "n_shared_experts") or 0),
        number(config, "first_k_dense_replace", 0, least=0),
    )


def decoder_layers(config: Config, row: Architecture) -> list[Layer]:
    """Return the layers of a decoder. Raise UnknownArchitecture for a kind that the row has not."""
    layers = number(config, "num_hidden_layers", most=_MOST_LAYERS)
    experts = row.sparse.read(config) if row.sparse else None
    made: dict[tuple[str, bool], Layer] = {}
    found = []
    for index, kind in enumerate(layer_kinds(config, row, layers)):
        sparse = experts is not None and _is_sparse(config, row.sparse, experts, index)
        alike = row.attend is None and row.feed_forward is None and row.beside is None
        if (layer := made.get((kind, sparse)) if alike else None) is None:
            layer = _layer(config, row, kind, index, experts if sparse else None)
            made[kind, sparse] = layer
        found.append(layer)
    return found


def _is_sparse(config: Config, sparse: Sparse | None, experts: Experts, index: int) -> bool:
    if sparse is None or index < experts.first:
        return False
    return sparse.layers is None or sparse.layers(config, index)


def _layer(
    config: Config, row: Architecture, kind: str, index: int, experts: Experts | None
) -> Layer:
    hidden = number(config, "hidden_size")
    if kind in row.mixers:
        parts = [row.mixers[kind](config)]
    elif row.attend:
        parts = [row.attend(config, kind, index)]
    elif row.latent:
        bias = flag(config, row.qkv_bias)
        parts = [
            latent_attention(
                hidden, number(config, "num_attention_heads"), read_latent(config), bias
            )
        ]
    else:
        parts = [standard_attention(config, row, kind)]
    if experts and row.sparse:
        parts.append(mixture(hidden, experts, row.sparse.how))
    elif row.feed_forward:
        parts.append(row.feed_forward(config, index))
    else:
        width, bias = number(config, "intermediate_size"), flag(config, row.mlp_bias)
        parts.append(mlp(hidden, width, feed=row.feed, bias=bias))
    if row.beside:
        parts.append(row.beside(config, index))
    return joined(*parts, norms(row.norms, hidden, row.norm_bias))


def standard_attention(config: Config, row: Architecture, kind: str) -> Layer:
    """Return attention as the row has it."""
    how = row.how._replace(
        qkv_bias=flag(config, row.qkv_bias), output_bias=flag(config, row.output_bias)
    )
    if row.head_norm and config.get(row.head_norm):
        how = how._replace(head_norm="head")
    if row.full_norm and config.get(row.full_norm):
        how = how._replace(head_norm="full")
    size = head_size(config)
    keys = kept_keys(config, kind, kv_heads(config), size)
    return attention(
        number(config, "hidden_size"), number(config, "num_attention_heads"), keys, how
    )


def kept_keys(config: Config, kind: str, heads: int, size: int, value: int | None = None) -> Keys:
    """Return the keys and values that attention of a kind keeps; values have another size."""
    return Keys(
        heads,
        size,
        value or size,
        optional(config, "sliding_window") if kind == SLIDING else None,
        optional(config, "attention_chunk_size") if kind == CHUNKED else None,
    )


def layer_kinds(config: Config, row: Architecture, layers: int) -> Sequence[str]:
    """Return the kind of each layer. Raise UnknownArchitecture for one that the row has not."""
    kinds = each_layer(config, "layer_types", layers)
    if kinds is None:
        return row.kinds(config, layers)
    found = [_OLDER_KINDS.get(str(kind), str(kind)) for kind in kinds]
    known = {FULL, SLIDING, CHUNKED} | set(row.mixers)
    if unknown := set(found) - known:
        raise UnknownArchitecture(f"KV cache of layers of type {min(unknown)[:100]} unknown.")
    return found


# Other names of these kinds: those of older files, and of attention that an indexer chooses for.
_OLDER_KINDS = {"attention": FULL, "mamba": "linear_attention", "indexed_attention": FULL}


def read_latent(config: Config) -> Latent:
    """Return the sizes of latent attention."""
    return Latent(
        number(config, "kv_lora_rank"),
        number(config, "qk_rope_head_dim"),
        number(config, "qk_nope_head_dim"),
        number(config, "v_head_dim"),
        optional(config, "q_lora_rank"),
    )


def head_size(config: Config) -> int:
    """Return the size of a head: what the config says, or the share of each."""
    hidden, heads = number(config, "hidden_size"), number(config, "num_attention_heads")
    size = optional(config, "head_dim") or hidden // heads
    if not size:
        raise FieldError(f"has {heads:,} attention heads for a hidden_size of {hidden:,}")
    return size


def kv_heads(config: Config) -> int:
    """Return the heads of keys and values, by default as many as there are of queries."""
    return number(config, "num_key_value_heads", number(config, "num_attention_heads"))


def is_sparse_by_type(config: Config, index: int) -> bool:
    """Return True if a layer has experts where the config may name the layers that do."""
    layers = number(config, "num_hidden_layers")
    kinds = each_layer(config, "mlp_layer_types", layers)
    if kinds is not None:
        return bool(kinds[index] == "sparse")
    return index >= number(config, "first_k_dense_replace", 1, least=0)


def experts_of(
    count_key: str = "num_experts",
    active: str = "num_experts_per_tok",
    width: str = "moe_intermediate_size",
    *,
    shared: str | None = None,
    shared_width: str | None = None,
    first: str | None = None,
) -> Callable[[Config], Experts | None]:
    """Return a reader of experts by the names of their fields, which has none where there are 0.

    The shared expert is as wide as `shared` experts, or has the width `shared_width`.
    """

    def read(config: Config) -> Experts | None:
        if not (found := expert_count(config, count_key)):
            return None
        each = number(config, width)
        wide = each * count(config, shared) if shared else 0
        return Experts(
            found,
            number(config, active),
            each,
            count(config, shared_width) if shared_width else wide,
            count(config, first) if first else 0,
        )

    return read
