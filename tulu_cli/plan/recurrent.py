"""The layers that keep a state of a fixed size instead of keys and values."""

from tulu_cli.plan.layers import linear, norm
from tulu_cli.plan.shape import Layer, Named, State


def mamba2(
    hidden: int,
    *,
    heads: int,
    head_size: int,
    groups: int,
    state: int,
    kernel: int,
    bias: bool = False,
    convolution_bias: bool = True,
    gated_norm: bool = True,
    dtype: str | None = None,
    name: str = "mamba",
) -> Layer:
    """Return a selective state space of Mamba 2; `dtype` is that of its state."""
    inner, grouped = heads * head_size, 2 * groups * state
    weights: list[Named] = [
        *linear(f"{name}.in_proj", 2 * inner + grouped + heads, hidden, bias),
        (f"{name}.conv1d.weight", (inner + grouped, 1, kernel)),
        *((f"{name}.{number}", (heads,)) for number in ("dt_bias", "A_log", "D")),
        *linear(f"{name}.out_proj", hidden, inner, bias),
    ]
    if convolution_bias:
        weights.append((f"{name}.conv1d.bias", (inner + grouped,)))
    if gated_norm:
        weights += norm(f"{name}.norm", inner)
    kept = State(kernel, inner, inner * state, groups, 2 * state, dtype)
    return Layer(tuple(weights), (kept,))


def mamba1(
    hidden: int,
    *,
    inner: int,
    state: int,
    kernel: int,
    rank: int,
    bias: bool = False,
    convolution_bias: bool = True,
    normalised: bool = False,
    name: str = "mamba",
) -> Layer:
    """Return a selective state space of Mamba 1; with `normalised`, that of Jamba."""
    weights: list[Named] = [
        *linear(f"{name}.in_proj", 2 * inner, hidden, bias),
        (f"{name}.conv1d.weight", (inner, 1, kernel)),
        *linear(f"{name}.x_proj", rank + 2 * state, inner),
        *linear(f"{name}.dt_proj", inner, rank, bias=True),
        (f"{name}.A_log", (inner, state)),
        (f"{name}.D", (inner,)),
        *linear(f"{name}.out_proj", hidden, inner, bias),
    ]
    if convolution_bias:
        weights.append((f"{name}.conv1d.bias", (inner,)))
    if normalised:
        for part, size in (("dt", rank), ("b", state), ("c", state)):
            weights += norm(f"{name}.{part}_layernorm", size)
    return Layer(tuple(weights), (State(kernel, inner, inner * state),))


def delta_net(
    hidden: int,
    *,
    key_heads: int,
    value_heads: int,
    key_size: int,
    value_size: int,
    kernel: int,
    joined_inputs: bool,
    dtype: str | None = None,
    name: str = "linear_attn",
) -> Layer:
    """Return a gated delta net, whose inputs are two weights, or with fewer joined four."""
    keys, values = key_heads * key_size, value_heads * value_size
    if joined_inputs:
        inputs = {"qkvz": 2 * keys + 2 * values, "ba": 2 * value_heads}
    else:
        inputs = {"qkv": 2 * keys + values, "z": values, "b": value_heads, "a": value_heads}
    weights: list[Named] = [
        *(one for part, rows in inputs.items() for one in _input(name, part, rows, hidden)),
        (f"{name}.conv1d.weight", (2 * keys + values, 1, kernel)),
        (f"{name}.dt_bias", (value_heads,)),
        (f"{name}.A_log", (value_heads,)),
        *norm(f"{name}.norm", value_size),
        *linear(f"{name}.out_proj", hidden, values),
    ]
    kept = State(kernel, 2 * keys + values, values * key_size, recurrent_dtype=dtype)
    return Layer(tuple(weights), (kept,))


def _input(name: str, part: str, rows: int, hidden: int) -> list[Named]:
    return linear(f"{name}.in_proj_{part}", rows, hidden)


def short_convolution(hidden: int, *, width: int, kernel: int, bias: bool) -> Layer:
    """Return a gated convolution over the last few tokens."""
    weights: list[Named] = [
        *linear("conv.in_proj", 3 * width, hidden, bias),
        ("conv.conv.weight", (width, 1, kernel)),
        *linear("conv.out_proj", hidden, width, bias),
    ]
    if bias:
        weights.append(("conv.conv.bias", (width,)))
    return Layer(tuple(weights), (State(kernel, width),))


def delta_attention(
    hidden: int,
    *,
    key_heads: int,
    value_heads: int,
    key_size: int,
    value_size: int,
    kernel: int,
    channelwise: bool = False,
    dtype: str | None = None,
    name: str = "linear_attn",
) -> Layer:
    """Return a delta net with a weight each for queries, keys and values.

    With `channelwise`, it forgets each channel by itself, through gates of a low rank.
    """
    keys, values = key_heads * key_size, value_heads * value_size
    weights: list[Named] = [
        *linear(f"{name}.q_proj", keys, hidden),
        *linear(f"{name}.k_proj", keys, hidden),
        *linear(f"{name}.v_proj", values, hidden),
        *linear(f"{name}.b_proj", value_heads, hidden),
        (f"{name}.conv1d.weight", (2 * keys + values, 1, kernel)),
        *norm(f"{name}.o_norm", value_size),
        *linear(f"{name}.o_proj", hidden, values),
        (f"{name}.A_log", (value_heads,)),
        (f"{name}.dt_bias", (values if channelwise else value_heads,)),
    ]
    if channelwise:
        for gate in ("f", "g"):
            weights += linear(f"{name}.{gate}_a_proj", value_size, hidden)
            weights += linear(f"{name}.{gate}_b_proj", values, value_size)
    else:
        weights += linear(f"{name}.a_proj", value_heads, hidden)
        weights += linear(f"{name}.g_proj", values, hidden)
    kept = State(kernel, 2 * keys + values, values * key_size, recurrent_dtype=dtype)
    return Layer(tuple(weights), (kept,))
