"""The parts of a decoder layer: the weights of each, and what it keeps of a sequence."""

from typing import Literal, NamedTuple

from tulu_cli.plan.shape import Experts, Keys, Latent, Layer, Named, Vector


def joined(*parts: Layer) -> Layer:
    """Return parts of a layer as one."""
    return Layer(
        tuple(weight for part in parts for weight in part.weights),
        tuple(kept for part in parts for kept in part.kept),
    )


def linear(name: str, rows: int, columns: int, bias: bool = False) -> list[Named]:
    """Return the weight and, with `bias`, the bias of a linear layer."""
    weight: Named = (f"{name}.weight", (rows, columns))
    return [weight, (f"{name}.bias", (rows,))] if bias else [weight]


def norm(name: str, size: int, bias: bool = False) -> list[Named]:
    """Return the weight and, with `bias`, the bias of a normalisation."""
    weight: Named = (f"{name}.weight", (size,))
    return [weight, (f"{name}.bias", (size,))] if bias else [weight]


def norms(count: int, size: int, bias: bool = False) -> Layer:
    """Return a number of normalisations of the hidden states."""
    found = [norm(f"layer_norm_{index}", size, bias) for index in range(count)]
    return Layer(tuple(weight for one in found for weight in one))


class Attention(NamedTuple):
    """How attention differs from that of Llama.

    With `head_norm`, queries and keys are normalised one head at a time ("head") or all together
    ("full"). With `fused`, queries, keys and values are one weight. A gate is made with the
    queries ("query"), or by a weight of its own for each value ("value") or head ("head").
    `sinks` has one number a head. With `borrowed`, the keys and values are those of an earlier
    layer; with `keyed`, the values are the keys.
    """

    qkv_bias: bool = False
    output_bias: bool = False
    head_norm: Literal["none", "head", "full"] = "none"
    fused: bool = False
    gate: Literal["none", "query", "value", "head"] = "none"
    sinks: bool = False
    borrowed: bool = False
    keyed: bool = False
    name: str = "self_attn"
    output: str = "o_proj"


_AS_LLAMA = Attention()


def attention(hidden: int, heads: int, keys: Keys, how: Attention = _AS_LLAMA) -> Layer:
    """Return attention with `heads` heads of queries."""
    at, queries = how.name, heads * keys.size
    rows, value_rows = keys.heads * keys.size, keys.heads * keys.value_size
    weights: list[Named] = []
    if how.fused:
        total = queries + rows + value_rows
        weights += linear(f"{at}.qkv_proj", total, hidden, how.qkv_bias)
    else:
        doubled = 2 if how.gate == "query" else 1
        weights += linear(f"{at}.q_proj", doubled * queries, hidden, how.qkv_bias)
        if not how.borrowed:
            weights += linear(f"{at}.k_proj", rows, hidden, how.qkv_bias)
        if not (how.borrowed or how.keyed):
            weights += linear(f"{at}.v_proj", value_rows, hidden, how.qkv_bias)
    weights += linear(f"{at}.{how.output}", hidden, heads * keys.value_size, how.output_bias)
    if how.gate in ("value", "head"):
        gates = heads * keys.value_size if how.gate == "value" else heads
        weights += linear(f"{at}.g_proj", gates, hidden)
    if how.head_norm != "none":
        whole = how.head_norm == "full"
        weights += norm(f"{at}.q_norm", queries if whole else keys.size)
        if not how.borrowed:
            weights += norm(f"{at}.k_norm", rows if whole else keys.size)
    if how.sinks:
        weights.append((f"{at}.sinks", (heads,)))
    return Layer(tuple(weights), () if how.borrowed else (keys,))


def latent_attention(hidden: int, heads: int, latent: Latent, bias: bool = False) -> Layer:
    """Return multi-head latent attention; `bias` is that of what leads into and out of it."""
    queries = heads * (latent.nope + latent.rope)
    weights: list[Named] = []
    if latent.query_rank:
        weights += linear("self_attn.q_a_proj", latent.query_rank, hidden, bias)
        weights += norm("self_attn.q_a_layernorm", latent.query_rank)
        weights += linear("self_attn.q_b_proj", queries, latent.query_rank)
    else:
        weights += linear("self_attn.q_proj", queries, hidden)
    vector = latent.rank + latent.rope
    weights += linear("self_attn.kv_a_proj_with_mqa", vector, hidden, bias)
    weights += norm("self_attn.kv_a_layernorm", latent.rank)
    expanded = heads * (latent.nope + latent.value)
    weights += linear("self_attn.kv_b_proj", expanded, latent.rank)
    weights += linear("self_attn.o_proj", hidden, heads * latent.value, bias)
    return Layer(tuple(weights), (Vector(vector),))


Feed = Literal["gated", "fused", "plain"]


def mlp(
    hidden: int, width: int, *, feed: Feed = "gated", bias: bool = False, name: str = "mlp"
) -> Layer:
    """Return a feed-forward network: gated by a weight of its own or a fused one, or plain."""
    weights: list[Named] = []
    if feed == "fused":
        weights += linear(f"{name}.gate_up_proj", 2 * width, hidden, bias)
    else:
        if feed == "gated":
            weights += linear(f"{name}.gate_proj", width, hidden, bias)
        weights += linear(f"{name}.up_proj", width, hidden, bias)
    return Layer((*weights, *linear(f"{name}.down_proj", hidden, width, bias)))


class Mixture(NamedTuple):
    """How a mixture of experts differs from that of Mixtral.

    `biased` experts have a bias, and with `correction` the router corrects the load of each.
    `shared_gate` weighs the shared expert, which is called `shared`.
    """

    feed: Feed = "gated"
    router: str = "gate"
    router_bias: bool = False
    correction: bool = False
    biased: bool = False
    shared_gate: bool = False
    shared: str = "shared_experts"
    name: str = "mlp"


_AS_MIXTRAL = Mixture()


def mixture(hidden: int, experts: Experts, how: Mixture = _AS_MIXTRAL) -> Layer:
    """Return a router, its experts stacked as an engine holds them, and the shared expert."""
    at, count, width = how.name, experts.count, experts.width
    weights = linear(f"{at}.{how.router}", count, hidden, how.router_bias)
    if how.correction:
        weights.append((f"{at}.{how.router}.e_score_correction_bias", (count,)))
    into = ("up_proj", width) if how.feed == "plain" else ("gate_up_proj", 2 * width)
    for name, rows, columns in ((*into, hidden), ("down_proj", hidden, width)):
        weights.append((f"{at}.experts.{name}.weight", (count, rows, columns)))
        if how.biased:
            weights.append((f"{at}.experts.{name}.bias", (count, rows)))
    found = Layer(tuple(weights))
    if not experts.shared:
        return found
    gate = linear(f"{at}.{how.shared}_gate", 1, hidden) if how.shared_gate else []
    always = mlp(hidden, experts.shared, feed=how.feed, name=f"{at}.{how.shared}")
    return joined(found, always, Layer(tuple(gate)))
