"""What `tulu plan` shows: plans as lines of text."""

from collections.abc import Iterator, Sequence
from shlex import join
from typing import TYPE_CHECKING, Any

from tulu_cli.plan.kv import kv_dtype, token_bytes
from tulu_cli.plan.search import longest_context
from tulu_cli.plan.speed import Speed, bounds
from tulu_cli.plan.values import Range
from tulu_cli.plan.verdict import judge
from tulu_cli.plan.versions import Version, sources
from tulu_cli.plan.vllm import CONTEXT, Estimate, Rank
from tulu_cli.render.columns import stacked_bar, table
from tulu_cli.text import gib

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
    drawn = stacked_bar(list(sizes.items()), plan.gpu.total_bytes, _BAR_WIDTH)
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


# What vLLM can do to a plain checkpoint while it loads it; anything else needs one made so.
_AT_LOAD = ("fp8", "bitsandbytes")


def ready_commands(
    plan: Estimate, model: str, *, nodes: int = 1, quantization: str | None = None
) -> tuple[str, ...]:
    """Lines for `tulu serve`, `vllm serve` and `tulu complete`; for several nodes Ray's first.

    `model` is what each of them is to be given: a repository or a path. `quantization` is the one
    that was asked for, beyond what the checkpoint has itself.
    """
    flags = _flags(plan)
    lines = []
    if quantization in _AT_LOAD:
        flags += ["--quantization", quantization]
    elif quantization is not None:
        lines.append(f"# with a checkpoint of the model that is quantized to {quantization}:")
    if nodes > 1:
        lines += [
            "pip install ray                               # on each node: vLLM does not bring it",
            "ray start --head --port=6379                  # on the first node",
            "ray start --address=FIRST_NODE:6379           # on each of the others",
        ]
    ray = ["--distributed-executor-backend", "ray"] if nodes > 1 else []
    own = _settings_of_vllm(plan)
    ours = [*flags, *_as_engine_arguments(own)]
    lines += [join(["tulu", "serve", model, *ours])] if nodes == 1 else []
    if plan.rules.gguf or not model.endswith(".gguf"):  # tulu unpacks such a file for vLLM
        lines += [join(["vllm", "serve", model, *flags, *_as_flags(own), *ray])]
    if nodes == 1:
        lines += [join(["tulu", "complete", "-m", model, "--engine", "vllm", *ours, "..."])]
    return tuple(lines)


def _flags(plan: Estimate) -> list[str]:
    run = plan.run
    flags = ["--max-model-len", str(run.max_model_len)]
    flags += ["--gpu-memory-utilization", f"{run.utilization:.4g}"]
    if run.layout.tensor > 1:
        flags += ["--tensor-parallel-size", str(run.layout.tensor)]
    if run.layout.pipeline > 1:
        flags += ["--pipeline-parallel-size", str(run.layout.pipeline)]
    return flags


def _settings_of_vllm(plan: Estimate) -> dict[str, str]:
    """What only vLLM has a setting for, by the names of its engine's arguments."""
    run = plan.run
    settings = {
        "kv_cache_dtype": run.kv_dtype if run.kv_dtype != "auto" else "",
        "max_num_seqs": str(run.max_num_seqs or ""),
        "max_num_batched_tokens": str(run.max_num_batched_tokens or ""),
        "enforce_eager": "true" if run.eager else "",
    }
    return {name: value for name, value in settings.items() if value}


def _as_flags(settings: dict[str, str]) -> list[str]:
    flags: list[str] = []
    for name, value in settings.items():
        flags += [f"--{name.replace('_', '-')}", *([] if value == "true" else [value])]
    return flags


def _as_engine_arguments(settings: dict[str, str]) -> list[str]:
    pairs = (f"{name}={value}" for name, value in settings.items())
    return [word for pair in pairs for word in ("--engine-arg", pair)]
