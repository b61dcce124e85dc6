"""A plan as text for a terminal: lines, bars, tables, formulas and ready commands."""

import json
from collections.abc import Iterator, Sequence
from shlex import join
from typing import TYPE_CHECKING

from tulu_cli.models.draft import NGRAM, NGRAM_LEAST, NGRAM_MOST
from tulu_cli.plan.kv import context_bytes, local_kv_heads
from tulu_cli.plan.layouts import link_rate
from tulu_cli.plan.search import Change, Plan
from tulu_cli.plan.speed import Speed
from tulu_cli.plan.values import GIB, Range
from tulu_cli.plan.versions import Version, sources
from tulu_cli.plan.vllm import BLOCK_SIZE, Estimate, Rank
from tulu_cli.render.columns import stacked_bar, table
from tulu_cli.text import gib, plural

if TYPE_CHECKING:
    from tulu_cli.plan.compare import Comparison
    from tulu_cli.plan.layouts import Option
    from tulu_cli.plan.sharding import Layout
    from tulu_cli.plan.transformers import TransformersPlan

_BAR_WIDTH = 48
IMAGE_SIDE = 1024  # pixels of the square image whose tokens are named beside the most
# The parts of a GPU's memory that are named even where they take nothing.
_ALWAYS = ("weights", "KV cache", "activation", "graphs", "other", "free")
LINK_NAMES = {
    "nvswitch": "NVLink",
    "nvlink": "NVLink",
    "xgmi": "xGMI",
    "xelink": "Xe Link",
    "pcie": "PCIe",
}
# What usual networks carry each way, in GB/s: their bits a second / 8.
_NETWORKS = (
    ("10 Gb/s Ethernet", 1.25),
    ("25 Gb/s Ethernet", 3.125),
    ("100 Gb/s Ethernet", 12.5),
    ("400 Gb/s InfiniBand (NDR)", 50.0),
    ("eight adapters of 400 Gb/s InfiniBand", 400.0),
)
_GB = 10**9


def plan_text(plan: Plan, version: Version, *, bars: bool) -> str:
    """Return one plan for vLLM: verdict, a line or a bar for each GPU, cache, speed."""
    found = plan.estimate
    most = found.concurrency(found.blocks.expected)
    lines = [
        f"{_where(found, version)}: {plan.judgement.verdict}",
        f"  {plan.judgement.reason}.",
        "",
        *(_rank_line(found, rank, bars=bars) for rank in found.ranks),
        "",
        f"KV cache size: {_cache_tokens(found)} tokens, in blocks of {found.caches[0].block_size}",
        *_warm_start(found),
        *_image(found),
        *_drafting(found),
        f"Maximum concurrency for {found.run.max_model_len:,} tokens per request: {most:.2f}x",
        f"Longest context for {plan.concurrency} at once: {plan.longest_context:,} tokens",
        *_speed(plan.speed, plan.concurrency, drafts=found.run.drafting is not None),
    ]
    return "\n".join([*lines, ""])


def comparison_text(found: "Comparison", version: Version) -> str:
    """Return the figures of a log beside those of the plan, and what explains the differences."""
    plan_verdict = found.plan.judgement.verdict
    rows = [("", "log", "plan", "difference")]
    for row in found.rows:
        logged, planned = (
            gib(size) if row.is_memory else f"{size:,.{row.digits}f}"
            for size in (row.logged, row.planned)
        )
        part = "" if row.difference is None else f"{100 * row.difference:+.1f} %"
        rows.append((row.name, logged, planned, part))
    head = f"{_where(found.plan.estimate, version)}, beside a log:\n\n"
    lines = [f"{reason}\n" for reason in found.reasons]
    if found.ended:
        wrong = ", which is wrong" if found.agrees is False else ""
        lines.append(f"By the log, {found.ended}; by the plan, it {plan_verdict}{wrong}.\n")
    return head + table(rows, right=(1, 2, 3)) + "".join(["\n" * bool(lines), *lines])


def transformers_text(plan: "TransformersPlan") -> str:
    """Return one plan for transformers, part by part."""
    total, generation = plan.total, plan.generation
    rows = [
        ("weights", gib(plan.weights)),
        ("KV cache", gib(plan.cache)),
        ("activation", gib(plan.activation.expected)),
        ("CUDA context", gib(plan.context.expected)),
        ("in all", f"{gib(total.expected)} (from {gib(total.low)} to {gib(total.high)})"),
    ]
    if len(plan.shares) > 1:
        rows += [
            (f"on GPU {index}", f"{gib(share.weights)} weights, {gib(share.cache)} KV cache")
            for index, share in enumerate(plan.shares)
        ]
    if plan.offloaded:
        rows.append(("in the machine's memory", f"{gib(plan.offloaded)} weights"))
    head = (
        f"{plan.model.name} with transformers, {generation.batch} x {generation.beams} sequences "
        f"of {generation.tokens:,} tokens: {plan.judgement.verdict}\n"
        f"  {plan.judgement.reason}.\n\n"
    )
    return head + table(rows)


def plans_text(plans: Sequence[Plan], *, models: bool = False) -> str:
    """Return a table of plans in the order given, named by their GPUs or by their models."""
    first = "model" if models else "GPUs"
    rows = [(first, "verdict", "weights a GPU", "KV tokens", "concurrency", "longest context")]
    for plan in plans:
        found = plan.estimate
        blocks = found.blocks.expected
        row = (
            found.model.name if models else f"{found.run.layout.gpus} x {found.gpu.name}",
            str(plan.judgement.verdict),
            gib(found.tightest.weights),
            f"{found.tokens(blocks):,}",
            f"{found.concurrency(blocks):.1f}x",
            f"{plan.longest_context:,}",
        )
        rows.append(row)
    return table(rows, right=(2, 3, 4, 5))


def options_text(found: Sequence["Option"], machines: tuple[int, int]) -> str:
    """Return a table of layouts, the one that gives the most, and the links that it assumes.

    Of a single layout only the links are told.
    """
    if len(found) == 1:
        return "".join(f"{line}\n" for line in _links(found[0], machines[1]))
    first = found[0].estimate
    rows = [
        ("replicas", "-tp", "-pp", "verdict", "requests", "for one", "for all", "of prompts"),
    ]
    for one in found:
        layout, speed = one.layout, one.speed
        rows.append(
            (
                str(layout.data),
                str(layout.tensor),
                str(layout.pipeline),
                str(one.judgement.verdict),
                f"{one.requests:,}",
                _rate(speed.decode),
                _rate(speed.decode_all if one.requests else None),
                _rate(speed.prefill),
            )
        )
    return (
        f"{first.model.name} on {machines[1]} x {machines[0]} {first.gpu.name}, by layout: "
        f"requests of {first.run.max_model_len:,} tokens at once, and at most tokens/s\n\n"
        f"{table(rows, right=(0, 1, 2, 4, 5, 6, 7))}\n"
        + "".join(f"{line}\n" for line in _conclusion(found, machines[1]))
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _named(layout: "Layout") -> str:
    """Return a layout as options of the command line."""
    replicas = f" --replicas {layout.data}" if layout.data > 1 else ""
    return f"-tp {layout.tensor} -pp {layout.pipeline}{replicas}"


def _conclusion(found: Sequence["Option"], nodes: int) -> Iterator[str]:
    best = found[0]
    if not best.requests:
        yield "None of them fits."
        return
    yield f"The most requests: {_named(best.layout)}"
    fastest = max(found, key=lambda one: (one.requests > 0, one.speed.decode_all or 0))
    if fastest.layout != best.layout and fastest.speed.decode_all is not None:
        yield f"The most tokens/s for all: {_named(fastest.layout)}"
    yield from _links(best, nodes)


def _links(best: "Option", nodes: int) -> Iterator[str]:
    """Yield sentences on the links that a layout's figures assume."""
    traffic, gpu = best.traffic, best.estimate.gpu
    if traffic is None:
        yield "What it needs of links is not known, as only the memory of this GPU is"
        return
    if traffic.inside:
        name, rate = LINK_NAMES[gpu.link], link_rate(gpu.card)
        has = f"of its {rate:g} by the data sheet" if rate else "whose own are not in the catalogue"
        yield (
            f"Inside a machine it assumes {name}: up to {traffic.inside / _GB:,.1f} GB/s from each "
            f"GPU, {has}"
        )
    if traffic.across:
        yield (
            f"Between machines it assumes up to {traffic.across / _GB:,.2f} GB/s from each "
            f"({traffic.across_token_bytes / 1024:,.0f} KiB a token): {network_for(traffic.across)}"
        )
    elif nodes > 1:
        yield "Between machines it needs nothing: each replica is inside of one"


def network_for(rate: float) -> str:
    """Return which of the usual networks carries bytes a second, or that none does."""
    for name, most in _NETWORKS:
        if most * _GB >= rate:
            return f"{name} carries {most:g}"
    return f"more than {name} ({most:g}), so the network would be the limit"


def changes_text(changes: Sequence[Change]) -> str:
    """Return the nearest changes that fit as a table, with what each costs."""
    if not changes:
        return "No single change makes it fit.\n"
    rows = [("It would fit with", "at the cost of")]
    return table(rows + [(change.option, change.cost) for change in changes])


def _rank_line(found: Estimate, rank: Rank, *, bars: bool) -> str:
    parts = {part: size for part, size in found.parts(rank).items() if size or part in _ALWAYS}
    name = _rank_name(found, rank)
    sizes = ", ".join(f"{part} {gib(size)}" for part, size in parts.items())
    if not bars:
        return f"{name}: {sizes}"
    held = [(part[0].upper(), size) for part, size in parts.items() if part != "free"]
    drawn = stacked_bar(held, found.gpu.total_bytes, _BAR_WIDTH)
    return f"{name} [{drawn}] {gib(found.gpu.total_bytes)}\n  {sizes}"


def _rank_name(found: Estimate, rank: Rank) -> str:
    return "each GPU" if len(found.ranks) == 1 else f"stage {rank.stage}"


def _where(found: Estimate, version: Version) -> str:
    release = ".".join(map(str, version))
    where = f"{found.run.layout.gpus} x {found.gpu.name}{_layout(found)}"
    return f"{found.model.name} on {where}, vLLM {release}"


def _layout(found: Estimate) -> str:
    layout = found.run.layout
    if layout.gpus == 1:
        return ""
    parts = [f"tensor parallel {layout.tensor}"]
    parts += [f"pipeline parallel {layout.pipeline}"] if layout.pipeline > 1 else []
    parts += [f"data parallel {layout.data}"] if layout.data > 1 else []
    parts += ["expert parallel"] if layout.whole_experts else []
    return f" ({', '.join(parts)})"


def _warm_start(found: Estimate) -> Iterator[str]:
    """Yield by how much a start that finds its compiled kernels differs from a first one."""
    more = found.warm_blocks - found.blocks.expected
    if more > 0:
        size = more * found.caches[found.tightest.stage].block_bytes
        yield (
            f"The next start, with a filled compile cache: {found.tokens(found.warm_blocks):,} "
            f"tokens, as it leaves {gib(size)} more"
        )


def _cache_tokens(found: Estimate) -> str:
    blocks = found.blocks
    least, expected, most = map(found.tokens, (blocks.low, blocks.expected, blocks.high))
    return f"{expected:,} (from {least:,} to {most:,})"


def _image(found: Estimate) -> Iterator[str]:
    """Yield what an image takes, if the model sees and that is known."""
    if (sight := found.model.shape.sight) is None:
        return
    size = context_bytes(found.model.shape, sight.most, found.run.layout.tensor, found.kv_dtype)
    square = sight.tokens(IMAGE_SIDE, IMAGE_SIDE)
    most, example = f"{sight.most:,} tokens", ""
    if square != sight.most:
        most = f"up to {most}"
        example = f"; one of {IMAGE_SIDE:,} x {IMAGE_SIDE:,} pixels takes {square:,}"
    yield f"An image takes {most}, which are {gib(size)} of KV cache{example}"


def _drafting(found: Estimate) -> Iterator[str]:
    """Yield what drafts, and what of the cache is the draft model's."""
    drafting = found.run.drafting
    if drafting is None:
        return
    ahead = f"up to {plural(drafting.tokens, 'token')} ahead"
    if drafting.model is None:
        yield f"N-grams draft {ahead}, and take no memory"
        return
    gpus, tokens = found.run.layout.tensor, found.caches[0].block_size
    bytes_of = (
        context_bytes(model.shape, tokens, gpus, found.kv_dtype)
        for model in (drafting.model, found.model)
    )
    own, others = bytes_of
    yield (
        f"{drafting.model.name} drafts {ahead}: its layers take {own / (own + others):.0%} of the "
        "KV cache"
    )


def _speed(speed: Speed, concurrency: int, *, drafts: bool) -> Iterator[str]:
    if speed.decode is not None and speed.decode_all is not None and speed.prefill is not None:
        yield (
            f"At most {speed.decode:,.0f} tokens/s for one user and {speed.decode_all:,.0f} for "
            f"{concurrency} with a full context (bandwidth / bytes read for a token"
            f"{', every drafted token accepted' * drafts})"
        )
        yield (
            f"At most {speed.prefill:,.0f} prompt tokens/s (peak FLOP/s / 2 FLOP a weight); "
            f"at least {speed.load_seconds:,.0f} s to load from a disk of 3 GB/s"
        )


def explanation(found: Estimate, version: Version) -> tuple[str, ...]:
    """Return every step from the model and the GPU to the number of tokens, then the rules."""
    return (
        *_steps(found),
        "",
        "Rules of this release:",
        *(f"  {line}" for line in sources(version)),
    )


def _steps(found: Estimate) -> Iterator[str]:
    run, rank = found.run, found.tightest
    yield (
        f"requested = {gib(found.gpu.total_bytes)} total x {run.utilization:.2f} utilization "
        f"= {gib(found.requested)}"
    )
    for each in found.ranks:
        yield from _rank_steps(found, each)
    cache = found.caches[rank.stage]
    yield f"KV cache data type = {found.kv_dtype}, {_source_of_kv_dtype(found)}"
    yield f"a token in a layer = {_token_values(found)} = {cache.token_bytes:,} bytes"
    page = cache.token_bytes * cache.block_size
    if cache.state_bytes:
        yield (
            f"a layer's state of a sequence = {cache.state_bytes:,} bytes, in a page of "
            f"{cache.block_size} tokens = {page:,} bytes"
        )
    what = f"{cache.token_bytes:,} bytes x {cache.block_size} tokens x {cache.layers} layers"
    if page * cache.layers != cache.block_bytes:
        what = f"{cache.block_size} tokens x {cache.layers} layers, which differ in size"
    yield f"a block = {what} = {cache.block_bytes:,} bytes"
    yield (
        f"blocks = {rank.kv.expected:,} // {cache.block_bytes:,} = {found.blocks.expected:,} "
        f"(from {found.blocks.low:,} to {found.blocks.high:,})"
    )
    yield (
        f"a request of {run.max_model_len:,} tokens = {found.request_blocks:,} blocks, so "
        f"{found.concurrency(found.blocks.expected):.2f} of them fit at once"
    )


def _token_values(found: Estimate) -> str:
    shape = found.model.shape
    if shape.latent:
        return f"({shape.latent.rank} + {shape.latent.rope}) values"
    heads = local_kv_heads(shape.kv_heads, found.run.layout.tensor)
    return f"2 x {heads} KV heads x {shape.head_size} values"


def _source_of_kv_dtype(found: Estimate) -> str:
    if found.run.kv_dtype != "auto":
        return "as asked for"
    return "as the checkpoint asks" if found.model.shape.kv_dtype else "that of the model"


def _rank_steps(found: Estimate, rank: Rank) -> Iterator[str]:
    name = _rank_name(found, rank)
    yield (
        f"{name}: weights = {rank.layers} layers' tensors cut over {found.run.layout.tensor}, as "
        f"allocated, and the rotary tables = {gib(rank.weights)}"
    )
    yield (
        f"{name}: activation peak of {found.batched:,} tokens in {found.sequences:,} sequences = "
        f"{_range(rank.activation)}"
    )
    if found.images and rank.stage == 0:
        images = found.images
        yield (
            f"{name}: {images.items} x {images.tokens:,} tokens of images at once, inside that "
            f"peak = {gib(images.reading)} while the encoder reads, {gib(images.output)} after it"
        )
    if found.run.draft is not None:
        yield (
            f"{name}: draft = {found.run.draft.shape.layers} layers' tensors of "
            f"{found.run.draft.name}, cut in the same way = {gib(rank.draft)}"
        )
    if rank.compiling.high:
        yield (
            f"{name}: compiling with an empty cache, beside the activation peak = "
            f"{_range(rank.compiling)}"
        )
    yield f"{name}: CUDA libraries and NCCL = {_range(rank.other)}"
    inside = "inside" if found.graphs_in_budget else "outside"
    yield f"{name}: CUDA graphs = {_range(rank.graphs)}, {inside} the budget"
    if found.run.kv_cache_bytes is not None:
        yield f"{name}: KV cache = {gib(rank.kv.expected)}, as asked for"
        return
    held = [
        rank.weights,
        rank.adapters,
        rank.draft,
        rank.activation.expected,
        rank.compiling.expected,
        rank.other.expected,
    ]
    held += [rank.graphs.expected] if found.graphs_in_budget else []
    taken = "".join(f" - {gib(size)}" for size in held if size)
    yield f"{name}: KV cache = {gib(found.requested)}{taken} = {_range(rank.kv)}"


def _range(amount: Range) -> str:
    if amount.low == amount.high:
        return gib(amount.expected)
    return f"{gib(amount.expected)} (from {gib(amount.low)} to {gib(amount.high)})"


# What vLLM can do to a plain checkpoint while it loads it; anything else needs one made so.
_AT_LOAD = ("fp8", "bitsandbytes")


def ready_commands(
    found: Estimate,
    model: str,
    *,
    nodes: int = 1,
    quantization: str | None = None,
    dtype: str = "auto",
    adapters: Sequence[str] = (),
    draft: str | None = None,
) -> tuple[str, ...]:
    """Return command lines that start what was planned, or print a script that does so.

    They are `tulu serve`, `vllm serve` and `tulu complete`; for several nodes or replicas,
    `tulu serve` prints the script. `model` is a repository or a path, and so are the `adapters` and
    a `draft` model; `quantization` and `dtype` are what was asked for beyond what the checkpoint
    has.
    """
    flags = _flags(found)
    flags += ["--dtype", dtype] if dtype != "auto" else []
    lines = []
    if quantization in _AT_LOAD:
        flags += ["--quantization", quantization]
    elif quantization is not None:
        lines.append(f"# with a checkpoint of the model that is quantized to {quantization}:")
    alone = nodes == 1 and found.run.layout.data == 1  # tulu's own engine is one replica
    own = _settings_of_vllm(found)
    ours = [*flags, *_as_engine_arguments(own)]
    if not alone:  # the machine that prints the script may have other GPUs
        ours += [] if found.run.layout.tensor > 1 else ["--tensor-parallel-size", "1"]
        ours += [] if found.run.layout.pipeline > 1 else ["--pipeline-parallel-size", "1"]
        ours += ["--nodes", str(nodes)] if nodes > 1 else []
    beside = [part for adapter in adapters for part in ("--adapter", adapter)]
    slots = [*_adapter_flags(found, adapters), *_draft_flags(found, draft)]
    if alone and found.run.drafting is not None:
        ours += ["--draft", draft or NGRAM, "--draft-tokens", str(found.run.drafting.tokens)]
    if alone or not slots:
        lines.append(join(["tulu", "serve", model, *ours, *beside]))
    elif nodes > 1:
        lines.append(join(["tulu", "serve", model, *ours]))
        lines.append(f"# its script's command needs {join(slots)} too")
    # tulu unpacks a GGUF file for a vLLM that cannot read it.
    if nodes == 1 and (found.rules.gguf or not model.endswith(".gguf")):
        lines += [join(["vllm", "serve", model, *flags, *_as_flags(own), *slots])]
    if alone:
        one = beside[:2]  # one prompt is answered by one adapter
        lines += [join(["tulu", "complete", "-m", model, "--engine", "vllm", *ours, *one, "..."])]
    return tuple(lines)


def _adapter_flags(found: Estimate, adapters: Sequence[str]) -> list[str]:
    """Return the options of `vllm serve` for adapters, which are called what they are here."""
    slots = found.run.adapters
    if slots is None or not adapters:
        return []
    from tulu_cli.models.adapter import named

    modules = ["=".join(named(adapter)) for adapter in adapters]
    flags = ["--enable-lora", "--max-loras", str(slots.number), "--max-lora-rank", str(slots.rank)]
    flags += ["--lora-target-modules", *slots.targets]
    return [*flags, "--lora-modules", *modules]


def _draft_flags(found: Estimate, draft: str | None) -> list[str]:
    """Return the option of `vllm serve` for a draft: a model, or None for n-grams."""
    drafting = found.run.drafting
    if drafting is None:
        return []
    told: dict[str, str | int | None] = {"method": "draft_model", "model": draft}
    if draft is None:
        told = {
            "method": "ngram",
            "prompt_lookup_max": NGRAM_MOST,
            "prompt_lookup_min": NGRAM_LEAST,
        }
    config = {**told, "num_speculative_tokens": drafting.tokens}
    return ["--speculative-config", json.dumps(config)]


def _flags(found: Estimate) -> list[str]:
    run = found.run
    flags = ["--max-model-len", str(run.max_model_len)]
    flags += ["--gpu-memory-utilization", f"{run.utilization:.4g}"]
    if run.layout.tensor > 1:
        flags += ["--tensor-parallel-size", str(run.layout.tensor)]
    if run.layout.pipeline > 1:
        flags += ["--pipeline-parallel-size", str(run.layout.pipeline)]
    if run.layout.data > 1:
        flags += ["--data-parallel-size", str(run.layout.data)]
    return flags


def _settings_of_vllm(found: Estimate) -> dict[str, str]:
    """Return the settings that only vLLM has, by the names of its engine's arguments."""
    run = found.run
    sequences, batched = run.max_num_seqs, run.max_num_batched_tokens
    if run.usage == "llm":  # what these commands start is a server, with other defaults
        sequences, batched = found.sequences, found.batched
    settings = {
        "kv_cache_dtype": run.kv_dtype if run.kv_dtype != "auto" else "",
        "block_size": str(run.block_size) if run.block_size != BLOCK_SIZE else "",
        "max_num_seqs": str(sequences or ""),
        "max_num_batched_tokens": str(batched or ""),
        "enforce_eager": "true" if run.eager else "",
        "enable_expert_parallel": "true" if run.layout.whole_experts else "",
        "kv_cache_memory_bytes": str(run.kv_cache_bytes or ""),
        "cpu_offload_gb": f"{run.offloaded_bytes / GIB:g}" if run.offloaded_bytes else "",
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
