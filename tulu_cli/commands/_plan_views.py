"""What `tulu plan` shows: plans as lines of text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tulu_cli.plan.search import longest_context
from tulu_cli.plan.speed import Speed, bounds
from tulu_cli.plan.verdict import judge
from tulu_cli.plan.versions import Version
from tulu_cli.plan.vllm import CONTEXT, Estimate, Rank
from tulu_cli.quantities import gib
from tulu_cli.render.table import bar, table

if TYPE_CHECKING:
    from tulu_cli.plan.transformers import TransformersPlan

_BAR_WIDTH = 48
# The letters of a bar and what they stand for.
PARTS = {"W": "weights", "K": "KV cache", "A": "activation", "G": "graphs", "O": "other"}


def plan_text(plan: Estimate, concurrency: int, version: Version, *, bars: bool) -> str:
    """One plan for vLLM: verdict, a line or a bar for each GPU, cache, speed."""
    judgement = judge(plan, concurrency)
    layout = plan.run.layout
    release = ".".join(map(str, version))
    where = f"{layout.gpus} x {plan.gpu.name}{_cut(plan)}, vLLM {release}"
    lines = [f"{plan.model.name} on {where}: {judgement.verdict}", f"  {judgement.reason}.", ""]
    lines += [_rank_line(plan, rank, bars=bars) for rank in plan.ranks]
    most = f"{plan.concurrency(plan.blocks.expected):.2f}x"
    lines += [
        "",
        f"KV cache size: {_about(plan, plan.tokens)} tokens, in blocks of {plan.run.block_size}",
        f"Maximum concurrency for {plan.run.max_model_len:,} tokens per request: {most}",
        f"Longest context for {concurrency} at once: {longest_context(plan, concurrency):,} tokens",
        *_speed(bounds(plan, concurrency), concurrency),
    ]
    return "\n".join([*lines, ""])


def transformers_text(plan: "TransformersPlan") -> str:
    """One plan for transformers, part by part."""
    rows = [
        ("weights", gib(plan.weights)),
        ("KV cache", gib(plan.cache)),
        ("activation", gib(plan.activation.expected)),
        ("CUDA context", gib(plan.context.expected)),
        (
            "in all",
            f"{gib(plan.total.expected)} (from {gib(plan.total.low)} to {gib(plan.total.high)})",
        ),
    ]
    generation = plan.generation
    head = (
        f"{plan.model.name} with transformers, {generation.batch} x {generation.beams} sequences "
        f"of {generation.tokens:,} tokens: {plan.judgement.verdict}\n"
        f"  {plan.judgement.reason}.\n\n"
    )
    return head + table(rows)


def plans_text(plans: Sequence[Estimate], concurrency: int, *, models: bool = False) -> str:
    """A table of plans in the order given, named by their GPUs or by their models."""
    first = "model" if models else "GPUs"
    rows = [(first, "verdict", "weights a GPU", "KV tokens", "concurrency", "longest context")]
    rows += [
        (
            plan.model.name if models else f"{plan.run.layout.gpus} x {plan.gpu.name}",
            str(judge(plan, concurrency).verdict),
            gib(plan.tightest.weights),
            f"{plan.tokens(plan.blocks.expected):,}",
            f"{plan.concurrency(plan.blocks.expected):.1f}x",
            f"{longest_context(plan, concurrency):,}",
        )
        for plan in plans
    ]
    return table(rows, right=(2, 3, 4, 5))


def explained(plan: Estimate, version: Version) -> tuple[str, ...]:
    """The formulas with their numbers."""
    from tulu_cli.plan.explain import explanation

    return explanation(plan, version)


def changes_text(changes: Sequence[Any]) -> str:
    """The nearest changes that fit, with what each costs."""
    if not changes:
        return "No single change makes it fit.\n"
    rows = [("It would fit with", "at the cost of")]
    return table(rows + [(change.option, change.cost) for change in changes])


def _rank_line(plan: Estimate, rank: Rank, *, bars: bool) -> str:
    outside = CONTEXT.expected + rank.graphs.expected * (not plan.rules.graphs_in_budget)
    free = plan.gpu.total_bytes - plan.requested - outside
    sizes = {
        "W": rank.weights,
        "K": max(0, rank.kv.expected),
        "A": rank.activation.expected,
        "G": rank.graphs.expected,
        "O": rank.other.expected + CONTEXT.expected,
    }
    name = "each GPU" if len(plan.ranks) == 1 else f"stage {rank.stage}"
    text = ", ".join(f"{PARTS[letter]} {gib(size)}" for letter, size in sizes.items())
    line = f"{name}: {text}, free {gib(max(0, free))}"
    if not bars:
        return line
    drawn = bar(list(sizes.items()), plan.gpu.total_bytes, _BAR_WIDTH)
    return f"{name} [{drawn}] {gib(plan.gpu.total_bytes)}\n  {line.partition(': ')[2]}"


def _cut(plan: Estimate) -> str:
    layout = plan.run.layout
    if layout.gpus == 1:
        return ""
    stages = f", pipeline parallel {layout.pipeline}" if layout.pipeline > 1 else ""
    return f" (tensor parallel {layout.tensor}{stages})"


def _about(plan: Estimate, of: Any) -> str:
    blocks = plan.blocks
    return f"{of(blocks.expected):,} (from {of(blocks.low):,} to {of(blocks.high):,})"


def _speed(speed: Speed, concurrency: int) -> Iterator[str]:
    if speed.decode is not None and speed.decode_all is not None and speed.prefill is not None:
        yield (
            f"At most {speed.decode:,.0f} tokens/s for one user and {speed.decode_all:,.0f} for "
            f"{concurrency} with a full context (bandwidth / bytes read for a token)"
        )
        yield (
            f"At most {speed.prefill:,.0f} prompt tokens/s (peak FLOP/s / 2 FLOP a weight); "
            f"at least {speed.load_seconds:,.0f} s to load from a disk of 3 GB/s"
        )
