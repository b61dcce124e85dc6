"""The parts of layers that are one architecture's own, read from its config.json."""

from tulu_cli.plan.decoder import (
    FULL,
    SLIDING,
    Kinds,
    each_nth_full,
    expert_count,
    experts_of,
    head_size,
    is_sparse_by_type,
    kept_keys,
    read_latent,
)
from tulu_cli.plan.fields import (
    Config,
    FieldError,
    count,
    each_layer,
    flag,
    number,
    optional,
    part,
    whole_numbers,
)
from tulu_cli.plan.layers import (
    Attention,
    attention,
    joined,
    latent_attention,
    linear,
    mlp,
    norm,
    norms,
)
from tulu_cli.plan.shape import Experts, Keys, Layer, Named, Vector


def _gemma_keys(config: Config, kind: str, index: int) -> tuple[Keys, bool, bool]:
    """Return the keys of a layer of Gemma 3n or 4, whether they are borrowed, and serve as values.

    Layers of full attention may have other heads, and the last layers use those of earlier ones.
    """
    layers, shared = number(config, "num_hidden_layers"), count(config, "num_kv_shared_layers")
    size, heads = head_size(config), number(config, "num_key_value_heads")
    keyed = kind == FULL and flag(config, "attention_k_eq_v")
    if kind == FULL:
        own: Config = {
            "head_dim": config.get("global_head_dim"),
            "num_key_value_heads": config.get("num_global_key_value_heads") if keyed else None,
        }
        if config.get("per_layer_config"):  # as transformers writes it, for layers that differ
            own = _own_layer(part(config, "per_layer_config"), index)
        size = optional(own, "head_dim") or size
        heads = optional(own, "num_key_value_heads") or heads
    borrowed = bool(shared) and index >= layers - shared
    return kept_keys(config, kind, heads, size), borrowed, keyed


def _own_layer(each: Config, index: int) -> Config:
    """Return the fields of one layer, whose number may be written with zeros before it."""
    key = next((key for key in each if key.isdecimal() and int(key[-9:]) == index), None)
    return {} if key is None else part(each, key)


def gemma_attention(config: Config, kind: str, index: int) -> Layer:
    """Return attention of Gemma 3n or 4."""
    keys, borrowed, keyed = _gemma_keys(config, kind, index)
    bias = flag(config, "attention_bias")
    how = Attention(bias, bias, head_norm="head", borrowed=borrowed, keyed=keyed)
    return attention(
        number(config, "hidden_size"), number(config, "num_attention_heads"), keys, how
    )


def per_layer_inputs(config: Config) -> list[Named]:
    """Return the embedding that Gemma 3n and 4 have for each layer, and what leads to it."""
    each, hidden = count(config, "hidden_size_per_layer_input"), number(config, "hidden_size")
    if not each:
        return []
    total = each * number(config, "num_hidden_layers")
    rows = number(config, "vocab_size_per_layer_input")
    return [
        ("model.embed_tokens_per_layer.weight", (rows, total)),
        *linear("model.per_layer_model_projection", total, hidden),
        *norm("model.per_layer_projection_norm", each),
    ]


def _per_layer_gate(config: Config) -> list[Named]:
    each, hidden = count(config, "hidden_size_per_layer_input"), number(config, "hidden_size")
    if not each:
        return []
    return [
        *linear("per_layer_input_gate", each, hidden),
        *linear("per_layer_projection", hidden, each),
        *norm("post_per_layer_input_norm", hidden),
    ]


def gemma3n_beside(config: Config, _index: int) -> Layer:
    """Return what Gemma 3n has beside attention and network: AltUp, LAuReL and gates."""
    hidden, inputs = number(config, "hidden_size"), number(config, "altup_num_inputs")
    rank = number(config, "laurel_rank")
    weights: list[Named] = [
        ("altup.correct_output_scale", (hidden,)),
        *linear("altup.correction_coefs", inputs, inputs),
        *linear("altup.prediction_coefs", inputs**2, inputs),
        *linear("altup.modality_router", inputs, hidden),
        *norm("altup.router_norm", hidden),
        *linear("laurel.linear_left", rank, hidden),
        *linear("laurel.linear_right", hidden, rank),
        *norm("laurel.post_laurel_norm", hidden),
    ]
    return Layer((*weights, *_per_layer_gate(config)))


def gemma3n_network(config: Config, index: int) -> Layer:
    """Return the feed-forward network of a layer of Gemma 3n, each of which may have a width."""
    width = config.get("intermediate_size")
    each = {"width": width[index] if isinstance(width, list) and index < len(width) else width}
    return mlp(number(config, "hidden_size"), number(each, "width"))


def gemma3n_back(config: Config) -> list[Named]:
    """Return the weights of Gemma 3n that stand outside of its layers."""
    hidden, more = number(config, "hidden_size"), number(config, "altup_num_inputs") - 1
    names = [f"altup_{way}projections.{i}" for way in ("", "unembed_") for i in range(more)]
    matrices = [one for name in names for one in linear(f"model.{name}", hidden, hidden)]
    return [*per_layer_inputs(config), *matrices]


def gemma4_network(config: Config, index: int) -> Layer:
    """Return the feed-forward network of Gemma 4, wider where keys are borrowed, if asked for."""
    layers, shared = number(config, "num_hidden_layers"), count(config, "num_kv_shared_layers")
    doubled = flag(config, "use_double_wide_mlp") and shared and index >= layers - shared
    width = number(config, "intermediate_size") * (2 if doubled else 1)
    return mlp(number(config, "hidden_size"), width)


def gemma4_beside(config: Config, _index: int) -> Layer:
    """Return what Gemma 4 has beside attention and network: experts, gates and a scale."""
    hidden = number(config, "hidden_size")
    scale = Layer((("layer_scalar", (1,)), *_per_layer_gate(config)))
    if not flag(config, "enable_moe_block"):
        return scale
    experts = _GEMMA4_EXPERTS(config)
    if experts is None:
        raise FieldError("has no num_experts")
    rows, width = experts.count, experts.width
    weights: list[Named] = [
        ("router.scale", (hidden,)),
        ("router.per_expert_scale", (rows,)),
        *linear("router.proj", rows, hidden),
        ("experts.gate_up_proj.weight", (rows, 2 * width, hidden)),
        ("experts.down_proj.weight", (rows, hidden, width)),
    ]
    return joined(scale, Layer(tuple(weights)), norms(3, hidden))


_GEMMA4_EXPERTS = experts_of(active="top_k_experts")


def last_full(every: int) -> Kinds:
    """Return the kinds of Gemma 4: the last layer has full attention, as each `every`-th does."""
    regular = each_nth_full(every)

    def kinds(config: Config, layers: int) -> list[str]:
        return [*list(regular(config, layers))[:-1], FULL]

    return kinds


def llama4_kinds(config: Config, layers: int) -> list[str]:
    """Return chunks for the layers that have rotary positions, full attention for the others."""
    rotary = each_layer(config, "no_rope_layers", layers) or []
    if not rotary:
        every = number(config, "no_rope_layer_interval", 4)
        rotary = [(index + 1) % every != 0 for index in range(layers)]
    chunked = optional(config, "attention_chunk_size") is not None
    return ["chunked_attention" if chunked and each else FULL for each in rotary]


def llama4_experts(config: Config) -> Experts:
    """Return the experts of Llama 4, and the shared one, which is as wide as each."""
    width = number(config, "intermediate_size")
    active = number(config, "num_experts_per_tok")
    return Experts(expert_count(config, "num_local_experts"), active, width, width)


def is_llama4_sparse(config: Config, index: int) -> bool:
    """Return True if a layer of Llama 4 has experts."""
    named = config.get("moe_layers")
    if isinstance(named, list):
        return index in named
    return (index + 1) % number(config, "interleave_moe_layer_step", 1) == 0


def llama4_network(config: Config, _index: int) -> Layer:
    """Return the feed-forward network of a layer of Llama 4 without experts."""
    width = number(config, "intermediate_size_mlp")
    return mlp(number(config, "hidden_size"), width, name="feed_forward")


def is_ernie_sparse(config: Config, index: int) -> bool:
    """Return True if a layer of ERNIE 4.5 has experts."""
    layers = number(config, "num_hidden_layers")
    last = number(config, "moe_layer_end_index", -1, least=-1) % layers
    every = number(config, "moe_layer_interval", 1)
    return (index + 1) % every == 0 and count(config, "moe_layer_start_index") <= index <= last


def indexed_attention(config: Config, _kind: str, _index: int) -> Layer:
    """Return latent attention to the tokens that an indexer chooses, by a vector that it keeps.

    The vector is in 8 bits with a scale of 4 bytes for each 128 numbers: DeepseekV32Indexer of
    vLLM 0.32 (model_executor/models/deepseek_v2.py).
    """
    hidden, heads = number(config, "hidden_size"), number(config, "index_n_heads")
    size, rank = number(config, "index_head_dim"), number(config, "q_lora_rank")
    at = "self_attn.indexer"
    weights = [
        *linear(f"{at}.wq_b", heads * size, rank),
        *linear(f"{at}.wk", size, hidden),
        *norm(f"{at}.k_norm", size, bias=True),
        *linear(f"{at}.weights_proj", heads, hidden),
    ]
    main = latent_attention(hidden, number(config, "num_attention_heads"), read_latent(config))
    return joined(main, Layer(tuple(weights), (Vector(size, size + size // 128 * 4),)))


CROSS = "cross_attention"


def cross_kinds(config: Config, layers: int) -> list[str]:
    """Return the layers of Llama 3.2 that attend to an image."""
    named = whole_numbers(config, "cross_attention_layers")
    return [CROSS if index in named else FULL for index in range(layers)]


def cross_attention(config: Config) -> Layer:
    """Return attention to an image, whose keys a prompt without one does not have."""
    size, heads = head_size(config), number(config, "num_key_value_heads")
    how = Attention(head_norm="head", name="cross_attn")
    hidden, queries = number(config, "hidden_size"), number(config, "num_attention_heads")
    found = attention(hidden, queries, Keys(heads, size, size), how)
    gates: tuple[Named, ...] = (("cross_attn_attn_gate", (1,)), ("cross_attn_mlp_gate", (1,)))
    return Layer((*found.weights, *gates))


def laguna_attention(config: Config, kind: str, index: int) -> Layer:
    """Return attention of Laguna, each layer of which may have its own number of heads."""
    layers = number(config, "num_hidden_layers")
    each = each_layer(config, "num_attention_heads_per_layer", layers)
    heads = number({"heads": each[index]}, "heads") if each else None
    by_head = config.get("gating", True) in (True, "per-head")
    bias = flag(config, "attention_bias")
    how = Attention(bias, bias, head_norm="head", gate="head" if by_head else "value")
    kept = kept_keys(config, kind, number(config, "num_key_value_heads"), head_size(config))
    queries = heads or number(config, "num_attention_heads")
    return attention(number(config, "hidden_size"), queries, kept, how)


def mimo_kinds(config: Config, layers: int) -> list[str]:
    """Return the kinds of MiMo V2, whose own files mark a window by 1."""
    marks = each_layer(config, "hybrid_layer_pattern", layers)
    if marks is None:
        full = each_nth_full(6)(config, layers)
        return [FULL, *full[1:]]
    return [SLIDING if mark == 1 else FULL for mark in marks]


def is_mimo_sparse(config: Config, index: int) -> bool:
    """Return True if a layer of MiMo V2 has experts, which its own files mark by 1."""
    marks = each_layer(config, "moe_layer_freq", number(config, "num_hidden_layers"))
    return is_sparse_by_type(config, index) if marks is None else marks[index] == 1


def mimo_attention(config: Config, kind: str, _index: int) -> Layer:
    """Return attention of MiMo V2, which has sinks and twice the keys where it has a window."""
    size, heads = head_size(config), number(config, "num_key_value_heads")
    if windowed := kind == SLIDING:
        heads = number(config, "swa_num_key_value_heads", 2 * heads)
    kept = kept_keys(config, kind, heads, size, number(config, "v_head_dim", size))
    how = Attention(flag(config, "attention_bias"), sinks=windowed)
    return attention(
        number(config, "hidden_size"), number(config, "num_attention_heads"), kept, how
    )


def norms_behind(config: Config, _index: int) -> Layer:
    """Return the two normalisations that HyperCLOVA X has behind attention and network."""
    return norms(2 if config.get("use_post_norm") else 0, number(config, "hidden_size"))


def axk1_norm(config: Config, index: int) -> Layer:
    """Return the normalisation that A.X K1 has behind its experts."""
    sparse = is_sparse_by_type(config, index)
    return norms(int(sparse), number(config, "hidden_size"))


def hunyuan_experts(config: Config) -> Experts:
    """Return the experts of Hunyuan, whose shared one is as wide; sizes may be a list of layers."""
    active = config.get("moe_topk")
    first = active[0] if isinstance(active, list) and active else active
    width = number(config, "intermediate_size")
    return Experts(
        expert_count(config, "num_experts"), number({"moe_topk": first}, "moe_topk"), width, width
    )


def apertus_activation(_config: Config, _index: int) -> Layer:
    """Return the two numbers that Apertus learns for its activation, and two that it keeps."""
    return Layer(
        tuple((f"mlp.act_fn.{name}", (1,)) for name in ("alpha_p", "alpha_n", "beta", "eps"))
    )
