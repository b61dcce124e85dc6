"""Architectures from before Llama: learned positions or ALiBi, and networks without a gate.

They call their fields by names of their own. Source: the modelling file of each in transformers.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tulu_cli.plan.decoder import Architecture
from tulu_cli.plan.fields import Config, FieldError, flag, number, optional
from tulu_cli.plan.layers import Attention, norm, norms
from tulu_cli.plan.shape import Layer, Named


def _heads(hidden: int, heads: int, kept: int | None = None) -> dict[str, Any]:
    """Return the fields of attention whose heads share the hidden size."""
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads if kept is None else kept,
        "head_dim": None,
    }


def _opt(config: Config) -> Mapping[str, Any]:
    hidden = number(config, "hidden_size")
    if (optional(config, "word_embed_proj_dim") or hidden) != hidden:
        raise FieldError("has a word_embed_proj_dim that is not its hidden_size")
    own = _heads(hidden, number(config, "num_attention_heads"))
    return own | {"intermediate_size": number(config, "ffn_dim")}


def _gpt2(config: Config) -> Mapping[str, Any]:
    hidden = number(config, "n_embd")
    return _heads(hidden, number(config, "n_head")) | {
        "num_hidden_layers": number(config, "n_layer"),
        "max_position_embeddings": number(config, "n_positions"),
        "intermediate_size": optional(config, "n_inner") or 4 * hidden,
    }


def _bloom(config: Config) -> Mapping[str, Any]:
    hidden = optional(config, "n_embed") or number(config, "hidden_size")
    return _heads(hidden, number(config, "n_head")) | {
        "num_hidden_layers": number(config, "n_layer"),
        "max_position_embeddings": number(config, "seq_length", 2048),
        "intermediate_size": 4 * hidden,
    }


def _gpt_neox(config: Config) -> Mapping[str, Any]:
    return _heads(number(config, "hidden_size"), number(config, "num_attention_heads"))


def _falcon(config: Config) -> Mapping[str, Any]:
    """Return the fields of Falcon, whose keys all heads may share, and what is normalised."""
    hidden, heads = number(config, "hidden_size"), number(config, "num_attention_heads")
    newer = flag(config, "new_decoder_architecture")
    if newer:
        kept = number(config, "num_kv_heads", heads)
    else:
        kept = 1 if flag(config, "multi_query") else heads
    return _heads(hidden, heads, kept) | {
        "intermediate_size": optional(config, "ffn_hidden_size") or 4 * hidden,
    }


def _falcon_norm(config: Config, _index: int) -> Layer:
    """Return the second normalisation of a layer of Falcon, where it has one."""
    newer = flag(config, "new_decoder_architecture")
    parallel = optional(config, "num_ln_in_parallel_attn") or (2 if newer else 1)
    second = parallel == 2 or not flag(config, "parallel_attn")
    return norms(int(second), number(config, "hidden_size"), bias=True)


def _positions(extra: int = 0) -> Callable[[Config], list[Named]]:
    """Return a reader of learned positions, of which there are `extra` before the first."""

    def read(config: Config) -> list[Named]:
        rows = number(config, "max_position_embeddings") + extra
        return [("model.embed_positions.weight", (rows, number(config, "hidden_size")))]

    return read


def _embedding_norm(config: Config) -> list[Named]:
    return norm("model.embed_layernorm", number(config, "hidden_size"), bias=True)


_PLAIN = Architecture(
    qkv_bias=True,
    output_bias=True,
    mlp_bias=True,
    how=Attention(fused=True),
    feed="plain",
    norm_bias=True,
    tied=True,
    ropes=0,
)
OLDER = {
    "OPTForCausalLM": _PLAIN._replace(
        qkv_bias="enable_bias",
        output_bias="enable_bias",
        mlp_bias="enable_bias",
        how=Attention(),
        derived=_opt,
        back=_positions(2),
    ),
    "GPT2LMHeadModel": _PLAIN._replace(derived=_gpt2, back=_positions()),
    "BloomForCausalLM": _PLAIN._replace(derived=_bloom, back=_embedding_norm),
    "GPTJForCausalLM": _PLAIN._replace(
        qkv_bias=False,
        output_bias=False,
        how=Attention(),
        norms=1,
        head_bias=True,
        tied=False,
        ropes=1,
        derived=_gpt2,
    ),
    "GPTNeoXForCausalLM": _PLAIN._replace(
        qkv_bias="attention_bias",
        output_bias="attention_bias",
        tied=False,
        ropes=1,
        derived=_gpt_neox,
    ),
    "FalconForCausalLM": _PLAIN._replace(
        qkv_bias="bias",
        output_bias="bias",
        mlp_bias="bias",
        norms=1,
        beside=_falcon_norm,
        ropes=1,
        derived=_falcon,
    ),
}
