"""The architectures that the planner knows, one row each, and how their config.json is read.

Any other architecture is refused by name: a guess at its KV cache would be worse than none.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.models.config import rope_factor
from tulu_cli.plan.shape import DTYPE_BYTES, Experts, Latent, Shape, Traits
from tulu_cli.text import told

Config = Mapping[str, Any]
# No model comes near these: a larger number is a typing error.
_MOST = 10**9
_MOST_LAYERS = 2048


class UnknownArchitecture(TuluError):
    """The model has an architecture whose memory the planner cannot count."""


def _no_windows(_config: Config, layers: int) -> tuple[int | None, ...]:
    return (None,) * layers


def _all_windows(config: Config, layers: int) -> tuple[int | None, ...]:
    return (_optional(config, "sliding_window"),) * layers


def _upper_windows(config: Config, layers: int) -> tuple[int | None, ...]:
    """Return the windows of Qwen2: where enabled, layers from `max_window_layers` on have one."""
    if not config.get("use_sliding_window"):
        return (None,) * layers
    first = _number(config, "max_window_layers", layers)
    return tuple(_optional(config, "sliding_window") if i >= first else None for i in range(layers))


def _pattern_windows(every: int) -> Callable[[Config, int], tuple[int | None, ...]]:
    """Return a reader for Gemma: each `every`-th layer has full attention, the others a window."""

    def windows(config: Config, layers: int) -> tuple[int | None, ...]:
        period = _number(config, "sliding_window_pattern", every)
        size = _optional(config, "sliding_window")
        return tuple(None if (i + 1) % period == 0 else size for i in range(layers))

    return windows


class _Architecture(NamedTuple):
    traits: Traits = Traits()
    windows: Callable[[Config, int], tuple[int | None, ...]] = _no_windows
    tied: bool = False
    experts: Callable[[Config], Experts] | None = None
    latent: bool = False
    reward: bool = False


def _mixtral_experts(config: Config) -> Experts:
    return Experts(
        _number(config, "num_local_experts"),
        _number(config, "num_experts_per_tok"),
        _number(config, "intermediate_size"),
    )


def _qwen_experts(config: Config) -> Experts:
    if _optional(config, "decoder_sparse_step") not in (None, 1) or config.get("mlp_only_layers"):
        raise UnknownArchitecture(
            "The planner does not know models that have experts in some layers only "
            "(decoder_sparse_step, mlp_only_layers)."
        )
    return Experts(
        _number(config, "num_experts"),
        _number(config, "num_experts_per_tok"),
        _number(config, "moe_intermediate_size"),
    )


def _deepseek_experts(config: Config) -> Experts:
    width = _number(config, "moe_intermediate_size")
    return Experts(
        _number(config, "n_routed_experts"),
        _number(config, "num_experts_per_tok"),
        width,
        width * (_optional(config, "n_shared_experts") or 0),
        _number(config, "first_k_dense_replace", 0, least=0),
    )


_QWEN2 = Traits(qkv_bias=True)
_QWEN3 = Traits(head_norm="head")

# Source of the layers: the modelling file of that name in transformers.
ARCHITECTURES = {
    "LlamaForCausalLM": _Architecture(),
    "LlamaForSequenceClassification": _Architecture(reward=True),
    "MistralForCausalLM": _Architecture(windows=_all_windows),
    "Qwen2ForCausalLM": _Architecture(_QWEN2, _upper_windows),
    "Qwen3ForCausalLM": _Architecture(_QWEN3, _upper_windows),
    "Gemma2ForCausalLM": _Architecture(Traits(layer_norms=4), _pattern_windows(2), tied=True),
    "Gemma3ForCausalLM": _Architecture(
        Traits(head_norm="head", layer_norms=4, ropes=2), _pattern_windows(6), tied=True
    ),
    "Phi3ForCausalLM": _Architecture(Traits(fused=True), _all_windows),
    "GraniteForCausalLM": _Architecture(),
    "Olmo2ForCausalLM": _Architecture(Traits(head_norm="full")),
    "Olmo3ForCausalLM": _Architecture(Traits(head_norm="full"), _pattern_windows(4)),
    "MixtralForCausalLM": _Architecture(windows=_all_windows, experts=_mixtral_experts),
    "Qwen3MoeForCausalLM": _Architecture(_QWEN3, _upper_windows, experts=_qwen_experts),
    "DeepseekV2ForCausalLM": _Architecture(latent=True, experts=_deepseek_experts),
    "DeepseekV3ForCausalLM": _Architecture(latent=True, experts=_deepseek_experts),
}


def read_shape(config: Config, name: str) -> Shape:
    """Return the shape that a config.json describes; errors call the model `name`.

    Raise UnknownArchitecture for an architecture that is not in the table, and BadInput for a
    field that is missing or has no sensible value.
    """
    names = config.get("architectures") or [config.get("model_type") or "a model without a name"]
    architecture = str(names[0]) if isinstance(names, list) else str(names)
    row = ARCHITECTURES.get(architecture)
    if row is None:
        raise UnknownArchitecture(
            f"KV cache of {architecture[:100]} unknown: the planner cannot count the memory of "
            f"{name}."
        )
    try:
        return _shape(config, architecture, row)
    except _FieldError as error:
        raise BadInput(f"The config.json of {name} {error}.") from error


def _shape(config: Config, architecture: str, row: _Architecture) -> Shape:
    layers = _number(config, "num_hidden_layers", most=_MOST_LAYERS)
    hidden = _number(config, "hidden_size")
    heads = _number(config, "num_attention_heads")
    head_size = _optional(config, "head_dim") or hidden // heads
    if not head_size:
        raise _FieldError(f"has {heads:,} attention heads for a hidden_size of {hidden:,}")
    latent = _latent(config) if row.latent else None
    return Shape(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", heads),
        head_size=head_size,
        intermediate=_number(config, "intermediate_size"),
        vocabulary=_number(config, "vocab_size"),
        positions=int(_number(config, "max_position_embeddings", 2048) * rope_factor(config)),
        dtype=_dtype(config),
        tied=bool(config.get("tie_word_embeddings", row.tied)) and not row.reward,
        traits=_traits(config, row.traits),
        windows=_windows(config, layers, row),
        rotary_size=latent.rope if latent else int(head_size * _rotary_share(config)),
        latent=latent,
        experts=row.experts(config) if row.experts else None,
        labels=_labels(config) if row.reward else None,
    )


def _traits(config: Config, traits: Traits) -> Traits:
    attention = bool(config.get("attention_bias"))
    return traits._replace(
        qkv_bias=traits.qkv_bias or attention,
        output_bias=attention,
        mlp_bias=bool(config.get("mlp_bias")),
    )


def _windows(config: Config, layers: int, row: _Architecture) -> tuple[int | None, ...]:
    kinds = config.get("layer_types")
    if kinds is None:
        return row.windows(config, layers)
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise _FieldError(f"has a layer_types that does not name all {layers} layers")
    if unknown := set(map(str, kinds)) - {"full_attention", "sliding_attention"}:
        raise UnknownArchitecture(f"KV cache of layers of type {min(unknown)[:100]} unknown.")
    size = _optional(config, "sliding_window")
    return tuple(size if kind == "sliding_attention" else None for kind in kinds)


def _latent(config: Config) -> Latent:
    return Latent(
        _number(config, "kv_lora_rank"),
        _number(config, "qk_rope_head_dim"),
        _number(config, "qk_nope_head_dim"),
        _number(config, "v_head_dim"),
        _optional(config, "q_lora_rank"),
    )


def _dtype(config: Config) -> str:
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = named.removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise _FieldError(f"has the dtype {told(dtype)}: known are {', '.join(DTYPE_BYTES)}")
    return dtype


def _labels(config: Config) -> int:
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) else _number(config, "num_labels", 2)


def _rotary_share(config: Config) -> float:
    share = config.get("partial_rotary_factor", 1.0)
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise _FieldError(f"has a partial_rotary_factor of {told(share)}")
    return float(share)


class _FieldError(Exception):
    """The rest of a sentence about a config.json."""


def _number(
    config: Config, key: str, default: int | None = None, least: int = 1, most: int = _MOST
) -> int:
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise _FieldError(f"has no {key}")
    if type(value) is not int or not least <= value <= most:
        raise _FieldError(f"has a {key} of {told(value)}")
    return value


def _optional(config: Config, key: str) -> int | None:
    return None if config.get(key) is None else _number(config, key)
