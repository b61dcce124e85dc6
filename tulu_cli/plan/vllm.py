"""The memory of vLLM with a model on given GPUs: the budget of each rank, and the verdict.

vLLM may take the total memory of a GPU times the utilization. What the weights, the activation
peak and the libraries leave of it is the KV cache; since 0.21 CUDA graphs are taken from it too.
The rank with the fewest blocks decides for all.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from tulu_cli.plan.activation import Batch, Chip, activation_peak, workspace
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.kv import Cache, cache_of, kv_dtype
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import Layout, check_layout, rank_blocks, stages
from tulu_cli.plan.tensors import Tensor
from tulu_cli.plan.values import MIB, Judgement, Range, Verdict, round_up
from tulu_cli.plan.versions import Rules
from tulu_cli.text import gib

_GRAIN = 512
_SMALL = MIB
_LARGE = 10 * MIB
_SEGMENT = 20 * MIB
_STEP = 2 * MIB


def allocated(sizes: Iterable[int]) -> int:
    """Return the bytes that PyTorch's allocator counts for tensors of these sizes, in order.

    Source: c10/cuda/CUDACachingAllocator.cpp. Sizes are multiples of 512 bytes. A request of
    1 MiB or more is cut from a segment of 20 MiB or, from 10 MiB on, of its own size rounded up to
    2 MiB; a rest of 1 MiB or less stays with the tensor. Tensors that are not multiples of 2 MiB
    therefore cost more than their bytes: 0.06 GiB in all for Qwen2.5 7B.
    """
    free: list[int] = []
    total = 0
    for request in sizes:
        size = round_up(request, _GRAIN)
        if size < _SMALL:
            total += size
            continue
        place = bisect_left(free, size)
        block = free.pop(place) if place < len(free) else _segment(size)
        left = block - size
        if left > _SMALL:
            insort(free, left)
            block = size
        total += block
    return total


def _segment(size: int) -> int:
    return _SEGMENT if size < _LARGE else round_up(size, _STEP)


BLOCK_SIZE = 16  # tokens: vLLM's own on GPUs
ONE_GPU = Layout()
_LONG_CONTEXT = 32768  # V0 switches chunked prefill on beyond it
_DATA_CENTER_BLACKWELL = 10  # the first number of its compute capability
_GB10 = (12, 1)
# The CUDA context, outside of every budget: 0.33 to 0.61 GiB are not free at the start.
CONTEXT = Range(320 * MIB, 480 * MIB, 640 * MIB)


@dataclass(frozen=True)
class Run:
    """The settings of one start of vLLM; None is its default for the release and the GPU."""

    max_model_len: int
    layout: Layout = ONE_GPU
    utilization: float | None = None
    kv_dtype: str = "auto"
    block_size: int = BLOCK_SIZE
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    eager: bool = False


@dataclass(frozen=True, eq=False)
class Model:
    """A shape with its tensors, and the name of their quantization, or None.

    Models are equal only if they are the same object, which makes them quick to look up.
    """

    name: str
    shape: Shape
    tensors: tuple[Tensor, ...]
    quantization: str | None = None


@dataclass(frozen=True)
class Rank:
    """The budget of each GPU of one pipeline stage; `layers` are those of the stage."""

    stage: int
    layers: int
    weights: int
    activation: Range
    graphs: Range
    other: Range
    kv: Range
    blocks: Range


@dataclass(frozen=True)
class Estimate:
    """The memory of one start of vLLM.

    `requested` is the bytes that vLLM takes of each GPU, `sequences` and `batched` its
    max_num_seqs and max_num_batched_tokens, `kv_dtype` the data type of its KV cache. `blocks`
    are those of the rank that has the fewest, and are never negative; `request_blocks` are those
    of one request of max_model_len tokens.
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

    @property
    def tightest(self) -> Rank:
        """The rank with the fewest blocks, which decides the size of the cache."""
        return min(self.ranks, key=lambda rank: rank.blocks.expected)

    def tokens(self, blocks: int) -> int:
        """Return the tokens that `blocks` hold: the "GPU KV cache size" of vLLM's log."""
        if self.rules.tokens_by_request:
            return int(self.concurrency(blocks) * self.run.max_model_len)
        return blocks // len(self.caches[0].windows) * self.run.block_size

    def concurrency(self, blocks: int) -> float:
        """Return the "Maximum concurrency for L tokens per request" of vLLM's log."""
        return blocks / self.request_blocks

    def needed_blocks(self, tokens: int, concurrency: int) -> int:
        """Return the blocks for `concurrency` requests of `tokens`, with those held back."""
        blocks = self.caches[0].request_blocks(tokens, self.batched)
        return blocks * concurrency + self.rules.reserved_blocks

    def occupied(self, rank: Rank) -> Range:
        """Return the bytes in use on a GPU: vLLM's budget and what is outside of it."""
        outside = CONTEXT if self.rules.graphs_in_budget else CONTEXT + rank.graphs
        return Range.exact(self.requested) + outside

    def parts(self, rank: Rank) -> dict[str, int]:
        """Return the expected bytes of each part of a GPU's memory, by name.

        The CUDA context is counted under "other".
        """
        return {
            "weights": rank.weights,
            "KV cache": max(0, rank.kv.expected),
            "activation": rank.activation.expected,
            "graphs": rank.graphs.expected,
            "other": rank.other.expected + CONTEXT.expected,
            "free": max(0, self.gpu.total_bytes - self.occupied(rank).expected),
        }

    def has_blocks(self, concurrency: int) -> bool:
        """Return True if the expected blocks hold `concurrency` requests of max_model_len."""
        return self.blocks.expected >= self.needed_blocks(self.run.max_model_len, concurrency)


def estimate(model: Model, gpu: Gpu, run: Run, rules: Rules) -> Estimate:
    """Estimate the memory of one start. Raise UsageError for a layout that vLLM refuses."""
    shape, layout = model.shape, run.layout
    check_layout(shape, layout)
    sequences, batched = batch_defaults(run, gpu, rules)
    utilization = rules.utilization if run.utilization is None else run.utilization
    requested = int(gpu.total_bytes * utilization)
    run = replace(run, utilization=utilization)
    dtype = kv_dtype(shape, run.kv_dtype)
    caches = cache_of(
        shape,
        layout,
        dtype=dtype,
        block_size=run.block_size,
        hybrid=rules.hybrid_cache,
    )
    batch = Batch(batched, sequences, layout.tensor)
    ranks = tuple(
        _rank(model, gpu, run, rules, batch, requested, stage, cache)
        for stage, cache in enumerate(caches)
    )
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
        request_blocks=caches[0].request_blocks(run.max_model_len, batched),
    )


def judge(found: Estimate, concurrency: int = 1) -> Judgement:
    """Return whether `concurrency` requests of max_model_len tokens can be served at once."""
    free = found.gpu.free_bytes - CONTEXT.low
    if free < found.requested and found.gpu.free_bytes < found.gpu.total_bytes:
        return Judgement(
            Verdict.NOT,
            f"vLLM would take {gib(found.requested)} of each GPU, and only {gib(max(0, free))} "
            "are free: other programs hold the rest",
        )
    rank = found.tightest
    needed = found.needed_blocks(found.run.max_model_len, concurrency)
    size = needed * found.caches[rank.stage].block_bytes
    sentence = (
        f"{concurrency} x {found.run.max_model_len:,} tokens need {gib(size)} of KV cache, "
        f"and {gib(rank.kv.expected)} will be there"
    )
    if not found.has_blocks(concurrency):
        if rank.kv.expected < 0:
            held = found.requested - rank.kv.expected
            sentence = (
                f"weights, activations and libraries need {gib(held)} of each GPU, and vLLM may "
                f"take {gib(found.requested)}"
            )
        return Judgement(Verdict.NOT, sentence)
    most = max(found.occupied(each).expected for each in found.ranks)
    if most > found.gpu.total_bytes:
        return Judgement(
            Verdict.NOT,
            f"{gib(most)} would be in use with CUDA graphs and context, which are outside the "
            f"budget, on a GPU of {gib(found.gpu.total_bytes)}",
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
    """Return max_num_seqs and max_num_batched_tokens, as asked or by default of vLLM's server."""
    small = _is_a100(gpu) or (rules.small_gb10 and gpu.chip.capability == _GB10)
    large = gpu.total_bytes >= rules.large_bytes and not small
    sequences = run.max_num_seqs or (rules.large_seqs if large else rules.small_seqs)
    if run.max_num_batched_tokens:
        batched = run.max_num_batched_tokens
    elif rules.engine == 0:
        chunked = run.max_model_len > _LONG_CONTEXT
        batched = rules.chunk if chunked else max(run.max_model_len, rules.small_batch)
    elif gpu.total_bytes >= rules.huge_bytes:
        batched = rules.huge_batch
    else:
        batched = rules.large_batch if large else rules.small_batch
    return min(sequences, batched), batched


@cache
def _loaded_bytes(model: Model, layout: Layout, stage: int) -> int:
    """Return the bytes of "Model loading took": tensors as allocated, and rotary tables."""
    shape = model.shape
    blocks = rank_blocks(model.tensors, shape, layout, stage)
    tables = shape.traits.ropes * shape.positions * shape.rotary_size * shape.dtype_bytes
    return allocated([*blocks.values(), tables])


def _rank(
    model: Model,
    gpu: Gpu,
    run: Run,
    rules: Rules,
    batch: Batch,
    requested: int,
    stage: int,
    cache: Cache,
) -> Rank:
    layout, shape = run.layout, model.shape
    last = stage == layout.pipeline - 1
    weights = _loaded_bytes(model, layout, stage)
    activation = activation_peak(
        shape, batch, rules, gpu.chip, samples=last, staged=layout.pipeline > 1
    )
    layers = len(stages(shape.layers, layout.pipeline)[stage])
    graphs = Range.exact(0) if run.eager else graph_bytes(shape, batch, rules, gpu.chip, layers)
    other = non_torch(gpu, layout, rules)
    held = Range.exact(weights) + activation + other
    kv = (held + graphs if rules.graphs_in_budget else held).taken_from(requested)
    blocks = Range(*(max(0, size) // cache.block_bytes for size in (kv.low, kv.expected, kv.high)))
    return Rank(stage, layers, weights, activation, graphs, other, kv, blocks)


def graph_bytes(shape: Shape, batch: Batch, rules: Rules, chip: Chip, layers: int) -> Range:
    """Return the bytes of CUDA graphs: the buffers that all share, and the nodes of each.

    The buffers are those of the largest graph. Source of the nodes, logs in tests/plan/data: 0.51
    to 1.85 GiB for 26 to 80 layers and 102 graphs on an H100, 0.60 to 0.68 GiB for 28 to 36 layers
    and 86 graphs.
    """
    limit = rules.capture_limit
    if rules.blackwell_capture_limit and chip.capability[0] == _DATA_CENTER_BLACKWELL:
        limit = rules.blackwell_capture_limit
    count = len(capture_sizes(min(limit, 2 * batch.sequences)))
    if rules.full_graphs:
        count += len(capture_sizes(min(limit, batch.sequences)))
    width = 3 * shape.intermediate // batch.gpus + 4 * shape.hidden
    buffers = limit * width * shape.dtype_bytes
    node = MIB // 8 if rules.engine else MIB // 4
    expected = 200 * MIB + workspace(chip) + buffers + count * layers * node
    return Range(expected * 6 // 10, expected, expected * 16 // 10)


def capture_sizes(largest: int) -> list[int]:
    """Return the batch sizes that have a graph: 1, 2, 4, every 8th to 256, then every 16th."""
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, 1025, 16)]
    return [size for size in sizes if size <= largest]


def non_torch(gpu: Gpu, layout: Layout, rules: Rules) -> Range:
    """Return the bytes that CUDA libraries take once vLLM has started: kernels' code and NCCL.

    Logs of one GPU print 0.02 to 0.46 GiB. With NCCL it is 0.25 GiB in all over PCIe (two
    RTX 4090), 0.55 GiB over NVLink, and 2.07 to 2.17 GiB where NVLink switches are used.
    """
    hopper = gpu.chip.capability[0] in (9, 10)
    single = rules.hopper_library_bytes if hopper else rules.library_bytes
    found = Range(20 * MIB, single, 2 * single + 40 * MIB)
    if layout.tensor == 1:
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
