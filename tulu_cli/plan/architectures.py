"""The architectures, and the reading of a config.json into the shape of a model.

The rows of Llama and its nearest relatives are here; those that few need are in families.py, which
is loaded for them only. Source of the layers: the modelling file of that name in transformers.
"""

from collections.abc import Mapping

from tulu_cli.errors import BadInput
from tulu_cli.models.config import rope_factor
from tulu_cli.plan.decoder import (
    Architecture,
    Sparse,
    UnknownArchitecture,
    decoder_layers,
    every_sliding,
    head_size,
    is_qwen_sparse,
    kv_heads,
    mixtral_experts,
    qwen_experts,
    read_latent,
    upper_sliding,
)
from tulu_cli.plan.fields import Config, FieldError, flag, number, optional, part, share
from tulu_cli.plan.layers import Attention, norm
from tulu_cli.plan.shape import DTYPE_BYTES, Shape
from tulu_cli.text import told

_QWEN3 = Architecture(how=Attention(head_norm="head"), kinds=upper_sliding)

ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(),
    "LlamaForSequenceClassification": Architecture(reward=True),
    "MistralForCausalLM": Architecture(kinds=every_sliding),
    "Qwen2ForCausalLM": Architecture(qkv_bias=True, kinds=upper_sliding),
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3MoeForCausalLM": _QWEN3._replace(
        sparse=Sparse(qwen_experts, layers=is_qwen_sparse), whole_vocabulary=True
    ),
    "MixtralForCausalLM": Architecture(
        kinds=every_sliding, sparse=Sparse(mixtral_experts), whole_vocabulary=True
    ),
}


def architecture_of(name: str) -> Architecture | None:
    """Return the row of an architecture by the name in config.json, None for an unknown one."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    from tulu_cli.plan.families import FAMILIES

    return FAMILIES.get(name)


def architecture_name(config: Config) -> str:
    """Return the name of the architecture of a config.json, or what else it is called."""
    names = config.get("architectures") or [config.get("model_type") or "a model without a name"]
    return str(names[0] if isinstance(names, list) else names)[:100]


def read_shape(config: Config, name: str, processor: Config | None = None) -> Shape:
    """Return the shape that a config.json describes; errors call the model `name`.

    `processor` is the config of its image processor, which many models that see have.

    Raise UnknownArchitecture for an architecture that is in no table, and BadInput for a field
    that is missing or has no sensible value.
    """
    architecture = architecture_name(config)
    row = architecture_of(architecture)
    if row is None:
        raise UnknownArchitecture(
            f"KV cache of {architecture} unknown: the planner cannot count the memory of {name}."
        )
    try:
        if architecture not in ARCHITECTURES:
            from tulu_cli.plan.defaults import completed

            config = completed(config)
            config = {**config, **{key: config.get(own) for key, own in row.renamed.items()}}
            if row.derived:
                config = {**config, **row.derived(config)}
            row = _with_text(config, row)
        shape = _shape(config, architecture, row)
    except FieldError as error:
        raise BadInput(f"The config.json of {name} {error}.") from error
    if row.images is None:
        return shape
    try:
        return shape._replace(sight=row.images(config, processor or {}))
    except FieldError as error:
        where = "config.json or preprocessor_config.json" if processor else "config.json"
        raise BadInput(f"The {where} of {name} {error}.") from error


def _with_text(config: Config, row: Architecture) -> Architecture:
    """Return the row of the language model that stands behind an encoder, with that encoder."""
    if not (row.texts and row.text):
        return row
    kind = str(part(config, row.text).get("model_type"))
    inner = architecture_of(row.texts[kind]) if kind in row.texts else None
    if inner is None:
        raise FieldError(f"has a language model of the type {told(kind)}, which is not known")
    return inner._replace(
        front=row.front,
        images=row.images,
        idle=row.idle,
        partial=row.partial,
        text=row.text,
        prefix=row.prefix,
    )


def _shape(whole: Config, architecture: str, row: Architecture) -> Shape:
    config = part(whole, row.text) if row.text else whole
    hidden, vocabulary = number(config, "hidden_size"), number(config, "vocab_size")
    heads = number(config, "num_attention_heads")
    size = head_size(config)
    latent = read_latent(config) if row.latent else None
    decoder = tuple(row.layers(config) if row.layers else decoder_layers(config, row))
    back = [*norm("model.norm", hidden, row.norm_bias)] if row.final_norm else []
    if flag(config, row.head_bias):
        back.append(("lm_head.bias", (vocabulary,)))
    tied = next(
        (bool(one[_TIED]) for one in (whole, config) if one.get(_TIED) is not None), row.tied
    )
    return Shape(
        architecture=architecture,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads(config),
        head_size=size,
        intermediate=_width(config),
        vocabulary=vocabulary,
        positions=int(number(config, "max_position_embeddings", 2048) * rope_factor(config)),
        dtype=_dtype(config, whole),
        tied=tied and not row.reward,
        decoder=decoder,
        rotary_size=latent.rope if latent else int(size * _rotary_share(config)),
        prefix=row.prefix,
        ropes=row.ropes,
        front=tuple(row.front(whole)) if row.front else (),
        back=(*back, *(row.back(config) if row.back else ())),
        latent=latent,
        experts=row.sparse.read(config) if row.sparse else None,
        labels=_labels(config) if row.reward else None,
        whole_vocabulary=row.whole_vocabulary,
        partial=row.partial,
        idle=row.idle(whole) if row.idle else (),
    )


_TIED = "tie_word_embeddings"


def _width(config: Config) -> int:
    """Return the width of the feed-forward networks, the widest where they differ."""
    found = config.get("intermediate_size")
    if isinstance(found, list) and found:
        return max(number({"intermediate_size": each}, "intermediate_size") for each in found)
    return number(config, "intermediate_size", optional(config, "moe_intermediate_size"))


def _dtype(config: Config, whole: Config) -> str:
    named = [one.get(key) for one in (config, whole) for key in ("dtype", "torch_dtype")]
    dtype = str(next(filter(None, named), "float32")).removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise FieldError(f"has the dtype {told(dtype)}: known are {', '.join(DTYPE_BYTES)}")
    return dtype


def dtype_of(config: Config, whole: Config, name: str) -> str:
    """Return the data type of a model's weights. Raise BadInput for one that is not known."""
    try:
        return _dtype(config, whole)
    except FieldError as error:
        raise BadInput(f"The config.json of {name} {error}.") from error


def _labels(config: Config) -> int:
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) else number(config, "num_labels", 2)


def _rotary_share(config: Config) -> float:
    rope = config.get("rope_parameters")
    if config.get("partial_rotary_factor") is None and isinstance(rope, Mapping):
        return share(rope, "partial_rotary_factor")
    return share(config, "partial_rotary_factor")
