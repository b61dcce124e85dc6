"""The recurrent layers of each architecture, read from its config.json."""

from collections.abc import Mapping, Sequence

from tulu_cli.plan.decoder import (
    FULL,
    Architecture,
    Kinds,
    experts_of,
    head_size,
    standard_attention,
)
from tulu_cli.plan.fields import (
    Config,
    FieldError,
    count,
    flag,
    number,
    optional,
    ratio,
    state_dtype,
    whole_numbers,
)
from tulu_cli.plan.layers import Attention, Mixture, joined, linear, mixture, mlp, norms
from tulu_cli.plan.recurrent import delta_attention, delta_net, mamba1, mamba2, short_convolution
from tulu_cli.plan.shape import Experts, Layer
from tulu_cli.text import told

LINEAR = "linear_attention"
_NOTHING = Layer(())


def each_nth_attends(every: int, key: str) -> Kinds:
    """Return a reader: each `every`-th layer has full attention, the others are linear."""

    def kinds(config: Config, layers: int) -> list[str]:
        period = number(config, key, every)
        return [FULL if (index + 1) % period == 0 else LINEAR for index in range(layers)]

    return kinds


def qwen_delta_net(config: Config, *, joined_inputs: bool) -> Layer:
    """Return the gated delta net of Qwen3-Next and 3.5."""
    return delta_net(
        number(config, "hidden_size"),
        key_heads=number(config, "linear_num_key_heads"),
        value_heads=number(config, "linear_num_value_heads"),
        key_size=number(config, "linear_key_head_dim"),
        value_size=number(config, "linear_value_head_dim"),
        kernel=number(config, "linear_conv_kernel_dim"),
        joined_inputs=joined_inputs,
        dtype=state_dtype(config, "mamba_ssm_dtype"),
    )


def olmo_delta_net(config: Config) -> Layer:
    """Return the delta net of OLMo hybrid, whose head sizes follow from those of attention."""
    heads, size = number(config, "num_attention_heads"), head_size(config)
    key_size = optional(config, "linear_key_head_dim") or int(0.75 * size)
    return delta_attention(
        number(config, "hidden_size"),
        key_heads=number(config, "linear_num_key_heads", heads),
        value_heads=number(config, "linear_num_value_heads", heads),
        key_size=key_size,
        value_size=optional(config, "linear_value_head_dim") or 2 * key_size,
        kernel=number(config, "linear_conv_kernel_dim"),
    )


def mamba2_of(config: Config, inner: int | None = None, *, gated_norm: bool = True) -> Layer:
    """Return the state space of Bamba, Granite 4 and Falcon H1."""
    hidden, heads = number(config, "hidden_size"), number(config, "mamba_n_heads")
    inner = inner or number(config, "mamba_expand") * hidden
    return mamba2(
        hidden,
        heads=heads,
        head_size=inner // heads,
        groups=number(config, "mamba_n_groups"),
        state=number(config, "mamba_d_state"),
        kernel=number(config, "mamba_d_conv"),
        bias=flag(config, "mamba_proj_bias"),
        convolution_bias=flag(config, "mamba_conv_bias"),
        gated_norm=gated_norm,
    )


def falcon_h1_attention(config: Config, kind: str, _index: int) -> Layer:
    """Return a layer's attention and, beside it, its state space."""
    beside = mamba2_of(
        config, optional(config, "mamba_d_ssm"), gated_norm=flag(config, "mamba_rms_norm")
    )
    return joined(standard_attention(config, Architecture(), kind), beside)


def jamba_mamba(config: Config) -> Layer:
    """Return the state space of Jamba."""
    hidden = number(config, "hidden_size")
    rank = config.get("mamba_dt_rank")
    return mamba1(
        hidden,
        inner=number(config, "mamba_expand") * hidden,
        state=number(config, "mamba_d_state"),
        kernel=number(config, "mamba_d_conv"),
        rank=-(-hidden // 16) if rank == "auto" else number(config, "mamba_dt_rank"),
        bias=flag(config, "mamba_proj_bias"),
        convolution_bias=flag(config, "mamba_conv_bias"),
        normalised=True,
    )


def jamba_kinds(config: Config, layers: int) -> list[str]:
    """Return attention for each `attn_layer_period`-th layer, from an offset on."""
    period, offset = number(config, "attn_layer_period"), count(config, "attn_layer_offset")
    return [FULL if index % period == offset else LINEAR for index in range(layers)]


def is_jamba_sparse(config: Config, index: int) -> bool:
    """Return True if a layer of Jamba has experts."""
    period, offset = number(config, "expert_layer_period"), count(config, "expert_layer_offset")
    return number(config, "num_experts") > 1 and index % period == offset


def bamba_kinds(config: Config, layers: int) -> list[str]:
    """Return attention for the layers that the config of Bamba names."""
    with_attention = whole_numbers(config, "attn_layer_indices")
    return [FULL if index in with_attention else LINEAR for index in range(layers)]


def granite_shared(config: Config, _index: int) -> Layer:
    """Return the network that every token of Granite visits, where there is one."""
    width = count(config, "shared_intermediate_size")
    if not width:
        return _NOTHING
    return mlp(number(config, "hidden_size"), width, feed="fused", name="shared_mlp")


_LETTERS = {"M": LINEAR, "*": FULL, "-": "mlp", "E": "moe"}


def nemotron_h(config: Config) -> Sequence[Layer]:
    """Return the layers of Nemotron-H, each of which is a mixer or a network alone."""
    pattern = config.get("hybrid_override_pattern")
    kinds = config.get("layers_block_type") or config.get("layer_types")
    if isinstance(pattern, str):
        kinds = [_LETTERS.get(letter, letter) for letter in pattern]
    if not isinstance(kinds, list) or not kinds or not all(isinstance(k, str) for k in kinds):
        raise FieldError("does not say of which kind each layer is")
    older = {"mamba": LINEAR, "attention": FULL}
    found = {kind: _nemotron_h_layer(config, older.get(kind, kind)) for kind in set(kinds)}
    return [found[kind] for kind in kinds]


def _nemotron_h_layer(config: Config, kind: str) -> Layer:
    hidden = number(config, "hidden_size")
    if kind == LINEAR:
        part = mamba2(
            hidden,
            heads=number(config, "mamba_num_heads"),
            head_size=number(config, "mamba_head_dim"),
            groups=number(config, "n_groups"),
            state=number(config, "ssm_state_size"),
            kernel=number(config, "conv_kernel"),
            bias=flag(config, "mamba_proj_bias"),
            convolution_bias=flag(config, "use_conv_bias"),
            dtype=state_dtype(config, "mamba_ssm_cache_dtype") or "float32",
            name="mixer",
        )
    elif kind == FULL:
        part = standard_attention(config, Architecture(how=Attention(name="mixer")), kind)
    elif kind == "mlp":
        width, bias = number(config, "intermediate_size"), flag(config, "mlp_bias")
        part = mlp(hidden, width, feed="plain", bias=bias, name="mixer")
    elif kind == "moe":
        part = _nemotron_h_experts(config, hidden)
    else:
        raise FieldError(f"has a layer of the kind {told(kind)}")
    return joined(part, norms(1, hidden))


def _nemotron_h_experts(config: Config, hidden: int) -> Layer:
    """Return experts, which may see a smaller vector than the shared one and the router do."""
    inner = optional(config, "moe_latent_size") or hidden
    experts = nemotron_h_experts(config)
    if experts is None:
        raise FieldError("has no n_routed_experts")
    how = Mixture(feed="plain", correction=True, name="mixer")
    if inner == hidden:
        return mixture(hidden, experts, how)
    width = experts.shared
    alone = mixture(inner, Experts(experts.count, experts.active, experts.width), how)
    router = linear("mixer.gate", experts.count, hidden)
    weights = [one for one in alone.weights if one[0] != "mixer.gate.weight"]
    around = [
        *linear("mixer.fc1_latent_proj", inner, hidden),
        *linear("mixer.fc2_latent_proj", hidden, inner),
    ]
    return joined(
        Layer((*router, *weights, *around)),
        mlp(hidden, width, feed="plain", name="mixer.shared_experts"),
    )


nemotron_h_experts = experts_of(
    "n_routed_experts", shared_width="moe_shared_expert_intermediate_size"
)


def lfm2_kinds(config: Config, layers: int) -> list[str]:
    """Return attention for the layers that an older config of LFM2 names, all if it names none."""
    with_attention = config.get("full_attn_idxs")
    if not isinstance(with_attention, list):
        return [FULL] * layers
    return [FULL if index in with_attention else "conv" for index in range(layers)]


def lfm2_convolution(config: Config) -> Layer:
    """Return the gated convolution of LFM2."""
    hidden = number(config, "hidden_size")
    kernel, bias = number(config, "conv_L_cache"), flag(config, "conv_bias")
    return short_convolution(hidden, width=hidden, kernel=kernel, bias=bias)


def lfm2_network(config: Config, _index: int) -> Layer:
    """Return the feed-forward network of LFM2, whose width follows from that of the config."""
    width = number(config, "block_ff_dim", number(config, "intermediate_size"))
    if config.get("block_auto_adjust_ff_dim"):
        step = number(config, "block_multiple_of")
        width = int(ratio(config, "block_ffn_dim_multiplier") * int(2 * width / 3))
        width = -(-width // step) * step
    return mlp(number(config, "hidden_size"), width, name="feed_forward")


def _kimi_linear(config: Config) -> Config:
    """Return what describes the linear layers of Kimi: an object of its own, or the config."""
    own = config.get("linear_attn_config")
    if isinstance(own, Mapping):
        return own
    sizes = {"num_heads": "linear_num_heads", "head_dim": "linear_head_dim"}
    sizes["short_conv_kernel_size"] = "linear_conv_kernel_dim"
    return {name: config.get(key) for name, key in sizes.items()}


def kimi_delta(config: Config) -> Layer:
    """Return the delta net of Kimi Linear, which forgets each channel by itself."""
    own = _kimi_linear(config)
    heads, size = number(own, "num_heads"), number(own, "head_dim")
    return delta_attention(
        number(config, "hidden_size"),
        key_heads=heads,
        value_heads=heads,
        key_size=size,
        value_size=size,
        kernel=number(own, "short_conv_kernel_size"),
        name="self_attn",
        channelwise=True,
        dtype="float32",
    )


def kimi_kinds(config: Config, layers: int) -> list[str]:
    """Return the kinds of Kimi Linear, whose config counts the layers from 1."""
    full = _kimi_linear(config).get("full_attn_layers")
    if not isinstance(full, list):
        raise FieldError("has no full_attn_layers")
    return [FULL if index + 1 in full else LINEAR for index in range(layers)]
