"""The formulas of a plan with its numbers in them, one line each."""

from collections.abc import Iterator

from tulu_cli.plan.kv import kv_dtype, token_bytes
from tulu_cli.plan.values import Range
from tulu_cli.plan.versions import Version, sources
from tulu_cli.plan.vllm import Estimate, Rank
from tulu_cli.quantities import gib


def explanation(plan: Estimate, version: Version) -> tuple[str, ...]:
    """Every step from the model and the GPU to the number of tokens, with the rules' sources."""
    return (
        *_steps(plan),
        "",
        "Rules of this release:",
        *(f"  {line}" for line in sources(version)),
    )


def _steps(plan: Estimate) -> Iterator[str]:
    shape, run, rank = plan.model.shape, plan.run, plan.tightest
    yield (
        f"requested = {gib(plan.gpu.total_bytes)} total x {run.utilization:.2f} utilization "
        f"= {gib(plan.requested)}"
    )
    for each in plan.ranks:
        yield from _rank(plan, each)
    token = token_bytes(shape, run.layout.tensor, kv_dtype(shape, run.kv_dtype))
    cache = plan.caches[rank.stage]
    heads = max(1, shape.kv_heads // run.layout.tensor)
    what = f"2 x {heads} KV heads x {shape.head_size} values"
    if shape.latent:
        what = f"({shape.latent.rank} + {shape.latent.rope}) values"
    yield f"a token in a layer = {what} = {token:,} bytes"
    yield (
        f"a block = {token:,} bytes x {cache.block_size} tokens x "
        f"{cache.block_bytes // (token * cache.block_size)} layers = {cache.block_bytes:,} bytes"
    )
    yield (
        f"blocks = {rank.kv.expected:,} // {cache.block_bytes:,} = {plan.blocks.expected:,} "
        f"(from {plan.blocks.low:,} to {plan.blocks.high:,})"
    )
    yield (
        f"a request of {run.max_model_len:,} tokens = {plan.request_blocks:,} blocks, so "
        f"{plan.concurrency(plan.blocks.expected):.2f} of them fit at once"
    )


def _rank(plan: Estimate, rank: Rank) -> Iterator[str]:
    name = f"stage {rank.stage}" if len(plan.ranks) > 1 else "each GPU"
    yield (
        f"{name}: weights = {rank.layers} layers' tensors cut over {plan.run.layout.tensor}, as "
        f"allocated, and the rotary tables = {gib(rank.weights)}"
    )
    yield (
        f"{name}: activation peak of {plan.batched:,} tokens in {plan.sequences:,} sequences = "
        f"{_range(rank.activation)}"
    )
    yield f"{name}: CUDA libraries and NCCL = {_range(rank.other)}"
    inside = "inside" if plan.rules.graphs_in_budget else "outside"
    yield f"{name}: CUDA graphs = {_range(rank.graphs)}, {inside} the budget"
    graphs = f" - {gib(rank.graphs.expected)}" if plan.rules.graphs_in_budget else ""
    yield (
        f"{name}: KV cache = {gib(plan.requested)} - {gib(rank.weights)} - "
        f"{gib(rank.activation.expected)} - {gib(rank.other.expected)}{graphs} "
        f"= {_range(rank.kv)}"
    )


def _range(amount: Range) -> str:
    if amount.low == amount.high:
        return gib(amount.expected)
    return f"{gib(amount.expected)} (from {gib(amount.low)} to {gib(amount.high)})"
