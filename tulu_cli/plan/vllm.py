"""The memory of vLLM with a model on given GPUs: the budget of each rank, and the verdict.

vLLM may take the total memory of a GPU times the utilization. What the weights, the activation
peak and the libraries leave of it is the KV cache; since 0.20 CUDA graphs are taken from it too.
The rank with the fewest blocks decides for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from tulu_cli.plan.activation import Batch, Chip, activation_peak, has_second_runner, workspace
from tulu_cli.plan.allocator import allocated
from tulu_cli.plan.drafts import check_draft, check_target
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.kv import Cache, cache_of, kv_dtype
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import Layout, check_layout, rank_blocks, stages
from tulu_cli.plan.tensors import Tensor, tensors_of
from tulu_cli.plan.values import MIB, Judgement, Range, Verdict, ceil_div
from tulu_cli.plan.versions import Rules
from tulu_cli.text import gib

if TYPE_CHECKING:
    from tulu_cli.plan.adapters import Slots
    from tulu_cli.plan.images import Profile

BLOCK_SIZE = 16  # tokens: vLLM's own on GPUs
ONE_GPU = Layout()
_LONG_CONTEXT = 32768  # V0 switches chunked prefill on beyond it
_MOST_READABLE = 2  # GPUs over PCIe whose memory vLLM reads from another GPU
_DATA_CENTER_BLACKWELL = 10  # the first number of its compute capability
# The CUDA context, outside of every budget: 0.33 to 0.61 GiB are not free at the start.
CONTEXT = Range(320 * MIB, 480 * MIB, 640 * MIB)
# Where GPU and machine share their memory, what the process takes of the machine's is missing on
# the GPU too: 0.8 to 1.2 GiB in logs of GB10, 2.3 GiB in one of Jetson Thor.
_SHARED_MEMORY = Range(512 * MIB, 1024 * MIB, 2400 * MIB)


class Run(NamedTuple):
    """The settings of one start of vLLM; None is its default for the release and the GPU.

    `kv_cache_bytes` is the size of each GPU's cache, whatever the utilization; `offloaded_bytes`
    of each GPU's weights stay in the machine's memory. `adapters` are the slots for them, if there
    are any, and `drafting` is the draft, None for none. The defaults are those of vLLM's server or
    of its LLM class.
    """

    max_model_len: int
    layout: Layout = ONE_GPU
    utilization: float | None = None
    kv_dtype: str = "auto"
    block_size: int = BLOCK_SIZE
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    eager: bool = False
    kv_cache_bytes: int | None = None
    offloaded_bytes: int = 0
    usage: Literal["server", "llm"] = "server"
    adapters: "Slots | None" = None
    drafting: "Drafting | None" = None

    @property
    def draft(self) -> "Model | None":
        """The model that drafts; None where nothing does, or n-grams."""
        return self.drafting.model if self.drafting else None


@dataclass(frozen=True, eq=False)
class Model:
    """A shape with its tensors, and the name of their quantization, or None.

    Models are equal only if they are the same object, which makes them quick to look up.
    """

    name: str
    shape: Shape
    tensors: tuple[Tensor, ...]
    quantization: str | None = None


class Drafting(NamedTuple):
    """What drafts up to `tokens` tokens ahead: a model, or None for n-grams."""

    tokens: int
    model: Model | None = None


class Rank(NamedTuple):
    """The budget of each GPU of one pipeline stage; `layers` are those of the stage.

    `compiling` is what a start with an empty compile cache takes beside `activation`.
    """

    stage: int
    layers: int
    weights: int
    activation: Range
    compiling: Range
    graphs: Range
    other: Range
    kv: Range
    blocks: Range
    adapters: int = 0
    draft: int = 0


@dataclass(frozen=True, eq=False)
class Estimate:
    """The memory of one start of vLLM.

    `requested` is the bytes that vLLM takes of each GPU, `sequences` and `batched` its
    max_num_seqs and max_num_batched_tokens, `kv_dtype` the data type of its KV cache. `blocks`
    are those of the rank that has the fewest, and are never negative; `request_blocks` are those
    of one request of max_model_len tokens. `in_flight` are the tokens that a sliding window keeps
    beside its own, and `graphs_in_budget` is True if CUDA graphs are taken from the KV cache.
    """

    model: Model
    gpu: Gpu
    run: Run
    rules: Rules
    requested: int
    sequences: int
    batched: int
    kv_dtype: str
    ranks: tuple[Rank, ...]
    caches: tuple[Cache, ...]
    blocks: Range
    request_blocks: int
    in_flight: int
    graphs_in_budget: bool
    images: "Profile | None" = None

    @property
    def tightest(self) -> Rank:
        """The rank with the fewest blocks, which decides the size of the cache."""
        return min(self.ranks, key=lambda rank: rank.blocks.expected)

    def tokens(self, blocks: int) -> int:
        """Return the tokens that `blocks` hold: the "GPU KV cache size" of vLLM's log."""
        if self.rules.tokens_by_request:
            return int(self.concurrency(blocks) * self.run.max_model_len)
        return blocks // len(self.caches[0].groups) * self.caches[0].block_size

    def concurrency(self, blocks: int) -> float:
        """Return the "Maximum concurrency for L tokens per request" of vLLM's log."""
        return blocks / self.request_blocks

    def needed_blocks(self, tokens: int, concurrency: int) -> int:
        """Return the blocks for `concurrency` requests of `tokens`, with those held back."""
        blocks = self.caches[0].request_blocks(tokens, self.in_flight)
        requests = ceil_div(concurrency, self.run.layout.data)
        return blocks * requests + self.rules.reserved_blocks

    @property
    def warm_blocks(self) -> int:
        """The expected blocks of a start with a filled compile cache."""
        return min(
            max(0, rank.kv.expected + rank.compiling.expected) // cache.block_bytes
            for rank, cache in zip(self.ranks, self.caches, strict=True)
        )

    def occupied(self, rank: Rank) -> Range:
        """Return the bytes in use on a GPU: vLLM's budget and what is outside of it."""
        if self.run.kv_cache_bytes is not None:
            held = Range.exact(rank.weights + rank.adapters + rank.draft) + rank.activation
            held = held + rank.compiling + rank.other
            return held + rank.kv + CONTEXT + rank.graphs
        outside = CONTEXT if self.graphs_in_budget else CONTEXT + rank.graphs
        return Range.exact(self.requested) + outside

    def parts(self, rank: Rank) -> dict[str, int]:
        """Return the expected bytes of each part of a GPU's memory, by name.

        The CUDA context is counted under "other".
        """
        return {
            "weights": rank.weights,
            "adapters": rank.adapters,
            "draft": rank.draft,
            "KV cache": max(0, rank.kv.expected),
            "activation": rank.activation.expected,
            "compiling": rank.compiling.expected,
            "graphs": rank.graphs.expected,
            "other": rank.other.expected + CONTEXT.expected,
            "free": max(0, self.gpu.total_bytes - self.occupied(rank).expected),
        }

    def has_blocks(self, concurrency: int) -> bool:
        """Return True if the expected blocks hold `concurrency` requests of max_model_len."""
        return self.blocks.expected >= self.needed_blocks(self.run.max_model_len, concurrency)


def estimate(model: Model, gpu: Gpu, run: Run, rules: Rules) -> Estimate:
    """Estimate the memory of one start.

    Raise UsageError for a layout or a draft that vLLM refuses.
    """
    shape, layout, draft = model.shape, run.layout, run.draft
    check_layout(shape, layout)
    if run.drafting is not None:
        check_target(model.name, shape)
    if draft is not None:
        check_draft(model.name, shape, draft.name, draft.shape, layout)
    sequences, batched = batch_defaults(run, gpu, rules)
    utilization = rules.utilization if run.utilization is None else run.utilization
    requested = int(gpu.total_bytes * utilization)
    run = run._replace(utilization=utilization)
    dtype = kv_dtype(shape, run.kv_dtype)
    caches = cache_of(
        shape,
        layout,
        dtype=dtype,
        block_size=run.block_size,
        hybrid=rules.hybrid_cache,
        states=2 if rules.hybrid_prefixes else 1,
        draft=draft.shape if draft else None,
    )
    second = has_second_runner(shape, rules, quantized=model.quantization is not None)
    if run.drafting is not None:
        second &= ("model" if draft else "ngram") in rules.second_runner_drafts
    in_budget = rules.second_graphs_in_budget if second else rules.graphs_in_budget
    batch = Batch(batched, sequences, layout.tensor, layout.data, layout.whole_experts)
    images = _images(shape, batch, run, rules)
    start = _Start(model, gpu, run, rules, batch, requested, second, in_budget, images)
    ranks = tuple(_rank(start, stage, cache) for stage, cache in enumerate(caches))
    in_flight = batched * _batches(shape, run, rules, second_runner=second)
    return Estimate(
        model=model,
        gpu=gpu,
        run=run,
        rules=rules,
        requested=requested,
        sequences=sequences,
        batched=batched,
        kv_dtype=dtype,
        ranks=ranks,
        caches=caches,
        blocks=_least([rank.blocks for rank in ranks]),
        request_blocks=caches[0].request_blocks(run.max_model_len, in_flight),
        in_flight=in_flight,
        graphs_in_budget=in_budget,
        images=images,
    )


def _images(shape: Shape, batch: Batch, run: Run, rules: Rules) -> "Profile | None":
    """Return what vLLM reads of images when it profiles, None if it is not known or it reads none.

    V0 profiled encoder and language model otherwise.
    """
    if shape.sight is None or rules.engine == 0:
        return None
    from tulu_cli.plan.images import profile

    return profile(shape.sight, batch, run.max_model_len, shape.dtype_bytes)


def judge(found: Estimate, concurrency: int = 1) -> Judgement:
    """Return whether `concurrency` requests of max_model_len tokens can be served at once."""
    free = found.gpu.free_bytes - CONTEXT.low
    by_size = found.run.kv_cache_bytes is not None
    if free < found.requested and found.gpu.free_bytes < found.gpu.total_bytes:
        return Judgement(
            Verdict.NOT,
            f"vLLM would take {gib(found.requested)} of each GPU, and only {gib(max(0, free))} "
            "are free: other programs hold the rest",
        )
    rank = found.tightest
    needed = found.needed_blocks(found.run.max_model_len, concurrency)
    size = needed * found.caches[rank.stage].block_bytes
    requests = ceil_div(concurrency, found.run.layout.data)
    each = " of each replica" if found.run.layout.data > 1 else ""
    sentence = (
        f"{requests} x {found.run.max_model_len:,} tokens need {gib(size)} of KV cache{each}, "
        f"and {gib(rank.kv.expected)} will be there"
    )
    if not found.has_blocks(concurrency):
        if rank.kv.expected < 0:
            held = found.requested - rank.kv.expected
            sentence = (
                f"weights, activations and libraries need {gib(held)} of each GPU, and vLLM may "
                f"take {gib(found.requested)}"
            )
        if found.warm_blocks >= needed:  # a start that fails for this has filled the cache
            sentence += "; the next start, with a filled compile cache, would have enough"
        return Judgement(Verdict.NOT, sentence)
    most = max(found.occupied(each).expected for each in found.ranks)
    if most > (found.gpu.free_bytes if by_size else found.gpu.total_bytes):
        what = "" if by_size else " with CUDA graphs and context, which are outside the budget,"
        return Judgement(
            Verdict.NOT,
            f"{gib(most)} would be in use{what} on a GPU of {gib(found.gpu.total_bytes)}",
        )
    if found.blocks.low < needed:
        low = found.ranks[rank.stage].kv.low
        return Judgement(Verdict.TIGHT, f"{sentence}, or as little as {gib(max(0, low))}")
    if max(found.occupied(each).high for each in found.ranks) > found.gpu.total_bytes:
        return Judgement(
            Verdict.TIGHT, "CUDA graphs and context may need more memory than the GPU has left"
        )
    return Judgement(Verdict.FITS, sentence)


def batch_defaults(run: Run, gpu: Gpu, rules: Rules) -> tuple[int, int]:
    """Return max_num_seqs and max_num_batched_tokens, as asked or by default of `run.usage`.

    GPUs that share the machine's memory have the smaller ones in every release: their driver does
    not tell its size, which get_batch_defaults of vllm/engine/arg_utils.py then takes for 0.
    """
    small = _is_a100(gpu) or gpu.hides_memory
    large = gpu.total_bytes >= rules.large_bytes and not small
    sequences = run.max_num_seqs or (rules.large_seqs if large else rules.small_seqs)
    if run.max_num_batched_tokens:
        batched = run.max_num_batched_tokens
    elif rules.engine == 0:
        chunked = run.max_model_len > _LONG_CONTEXT
        batched = rules.chunk if chunked else max(run.max_model_len, rules.small_batch)
    else:
        batched = min(_default_batch(run, gpu, rules, large=large), sequences * run.max_model_len)
    return min(sequences, batched), batched


def _default_batch(run: Run, gpu: Gpu, rules: Rules, *, large: bool) -> int:
    if gpu.total_bytes >= rules.huge_bytes:
        return rules.huge_batch
    if run.usage == "llm":
        return rules.large_llm_batch if large else rules.small_llm_batch
    return rules.large_batch if large else rules.small_batch


def _batches(shape: Shape, run: Run, rules: Rules, *, second_runner: bool) -> int:
    """Return the batches whose tokens a sliding window keeps at a time.

    Source: max_concurrent_batches of vllm/config/vllm.py; scheduling is asynchronous by default
    but for pooling models and beside n-grams.
    """
    pipeline = run.layout.pipeline
    if not rules.in_flight:
        return 1
    if shape.labels is not None or (run.drafting is not None and run.draft is None):
        return pipeline
    if second_runner:
        return pipeline + 1
    return 2 if pipeline == 1 else pipeline


class _Start(NamedTuple):
    """The parts of one start that all of its ranks share."""

    model: Model
    gpu: Gpu
    run: Run
    rules: Rules
    batch: Batch
    requested: int
    second_runner: bool
    graphs_in_budget: bool
    images: "Profile | None"


@cache
def _loaded_bytes(model: Model, layout: Layout, stage: int, *, split_limit: bool) -> int:
    """Return the bytes of "Model loading took": tensors as allocated, and rotary tables."""
    shape = model.shape
    blocks = rank_blocks(model.tensors, shape, layout, stage)
    tables = shape.ropes * shape.positions * shape.rotary_size * shape.dtype_bytes
    return allocated([*blocks.values(), tables], split_limit=split_limit)


def _rank(start: _Start, stage: int, cache: Cache) -> Rank:
    run, rules, gpu = start.run, start.rules, start.gpu
    layout, shape, chip = run.layout, start.model.shape, gpu.chip
    weights = _loaded_bytes(start.model, layout, stage, split_limit=rules.split_limit)
    weights = max(0, weights - run.offloaded_bytes)
    adapters = 0
    if run.adapters is not None:
        from tulu_cli.plan.adapters import slot_blocks

        # vLLM makes the slots as it loads the model.
        plain = start.model.tensors if shape.partial else tensors_of(shape)
        blocks_of_slots = slot_blocks(run.adapters, plain, shape, layout, stage)
        adapters = allocated(blocks_of_slots, split_limit=rules.split_limit)
    # Kernels for 4-bit floats hold their buffers in each release: a log of 0.11 has 0.08 GiB less.
    keeps = rules.keeps_experts or start.model.quantization == "mxfp4"
    peak = activation_peak(
        shape,
        start.batch,
        rules._replace(keeps_experts=keeps),
        chip,
        samples=stage == layout.pipeline - 1,
        compiles=not run.eager,
        staged=layout.pipeline > 1,
        unpacks=unpacks(start.model, chip),
        second_runner=start.second_runner,
        reading=start.images.reading if start.images and stage == 0 else 0,
        seen=start.images.output if start.images and stage == 0 else 0,
    )
    draft, captured = 0, 0
    if run.draft is not None:
        draft = _loaded_bytes(run.draft, layout, stage, split_limit=rules.split_limit)
        captured = run.draft.shape.layers
    layers = len(stages(shape.layers, layout.pipeline)[stage])
    graphs = Range.exact(0)
    if not run.eager:
        graphs = graph_bytes(
            shape,
            start.batch,
            rules,
            gpu,
            layers + captured,
            second_runner=start.second_runner,
            # One set with adapters and one without: _get_lora_cases of vllm/v1/cudagraph_dispatcher
            # of 0.32.
            sets=2 if run.adapters else 1,
        )
    connected = layout.tensor > 1 or (layout.data > 1 and shape.experts is not None)
    other = non_torch(gpu, rules, connected=connected)
    if run.kv_cache_bytes is None:
        held = Range.exact(weights + adapters + draft)
        held = held + peak.running + peak.compiling + other
        kv = (held + graphs if start.graphs_in_budget else held).taken_from(start.requested)
    else:
        kv = Range.exact(run.kv_cache_bytes)
    blocks = Range(*(max(0, size) // cache.block_bytes for size in (kv.low, kv.expected, kv.high)))
    return Rank(
        stage,
        layers,
        weights,
        peak.running,
        peak.compiling,
        graphs,
        other,
        kv,
        blocks,
        adapters,
        draft,
    )


def unpacks(model: Model, chip: Chip) -> bool:
    """Return True where vLLM has no Marlin for AWQ, and unpacks the weights of dense layers.

    Source: get_quant_method of auto_awq.py of vLLM 0.33, which takes Marlin on CUDA alone.
    """
    return chip.amd and model.quantization == "awq" and model.shape.experts is None


def graph_bytes(
    shape: Shape,
    batch: Batch,
    rules: Rules,
    gpu: Gpu,
    layers: int,
    *,
    second_runner: bool = False,
    sets: int = 1,
) -> Range:
    """Return the bytes of CUDA graphs: the buffers that all share, and the nodes of each.

    The buffers are those of the largest graph. Source of the nodes, logs in tests/plan/data: 0.51
    to 1.85 GiB for 26 to 80 layers and 102 graphs on an H100, 0.60 to 0.68 GiB for 28 to 36 layers
    and 86 graphs. With runner 2, 0.52 and 0.81 GiB for 40 and 64 layers are the nodes and buffers
    alone; others print 0.23 GiB for 36 layers and 0.48 GiB for 28. Where NCCL sums up what the
    GPUs have computed, 2.62 GiB for 80 layers and 86 graphs, 3.45 GiB for 94 layers and 67: over
    PCIe that is so for more than two GPUs (custom_all_reduce.py), and for two that cannot read one
    another's memory.
    """
    limit = rules.capture_limit
    if rules.blackwell_capture_limit and gpu.chip.capability[0] == _DATA_CENTER_BLACKWELL:
        limit = rules.blackwell_capture_limit
    count = len(capture_sizes(min(limit, 2 * batch.sequences)))
    if rules.full_graphs:
        count += len(capture_sizes(min(limit, batch.sequences)))
    count *= sets
    width = 3 * shape.intermediate // batch.gpus + 4 * shape.hidden
    buffers = limit * width * shape.dtype_bytes
    node = MIB // 8 if rules.engine else MIB // 4
    by_nccl = MIB * 3 // 8 if gpu.link == "pcie" else node
    fixed = workspace(gpu.chip) + buffers + (0 if second_runner else 200 * MIB)

    def graphs(node: int) -> int:
        return fixed + count * layers * node

    expected = graphs(by_nccl if batch.gpus > _MOST_READABLE else node)
    most = graphs(by_nccl) if batch.gpus > 1 else expected
    return Range(expected // 2, expected, most * 16 // 10)


def capture_sizes(largest: int) -> list[int]:
    """Return the batch sizes that have a graph: 1, 2, 4, every 8th to 256, then every 16th."""
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, 1025, 16)]
    return [size for size in sizes if size <= largest]


def non_torch(gpu: Gpu, rules: Rules, *, connected: bool) -> Range:
    """Return the bytes that CUDA libraries take once vLLM has started: kernels' code and NCCL.

    Logs of one GPU print 0.02 to 0.46 GiB. With NCCL it is 0.25 GiB in all over PCIe (two
    RTX 4090), 0.55 GiB over NVLink, and 2.07 to 2.17 GiB where NVLink switches are used. With
    `connected`, several GPUs compute a layer together.
    """
    hopper = gpu.chip.capability[0] in (9, 10)
    single = rules.hopper_library_bytes if hopper else rules.library_bytes
    found = Range(20 * MIB, single, 2 * single + 40 * MIB)
    if gpu.shares_memory:
        found += _SHARED_MEMORY
    if not connected:
        return found
    if gpu.link == "nvswitch" and hopper and rules.nvls:
        return found + Range(400 * MIB, 1880 * MIB, 2100 * MIB)
    if gpu.link == "pcie":
        return found + Range(100 * MIB, 200 * MIB, 600 * MIB)
    return found + Range(200 * MIB, 410 * MIB, 900 * MIB)


def _is_a100(gpu: Gpu) -> bool:
    return "a100" in gpu.name.lower()


def _least(ranges: Sequence[Range]) -> Range:
    return Range(
        min(each.low for each in ranges),
        min(each.expected for each in ranges),
        min(each.high for each in ranges),
    )
