"""The most or the least of one setting with which a plan still fits."""

from collections.abc import Callable
from dataclasses import replace

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.verdict import judge
from tulu_cli.plan.versions import Rules
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate

GPUS_A_NODE = 8
_MOST_NODES = 64
_MOST_UTILIZATION = 98  # per cent; beyond it the CUDA context has no room


def longest_context(plan: Estimate, concurrency: int = 1) -> int:
    """The longest context that fits so many times, up to what the model has; 0 where none does."""

    def fits(tokens: int) -> bool:
        run = replace(plan.run, max_model_len=tokens)
        return judge(estimate(plan.model, plan.gpu, run, plan.rules), concurrency).fits

    positions = plan.model.shape.positions
    blocks = _most(
        lambda count: fits(count * plan.run.block_size), positions // plan.run.block_size
    )
    return positions if blocks and fits(positions) else blocks * plan.run.block_size


def most_requests(plan: Estimate) -> int:
    """How many requests of max_model_len fit at once."""
    usable = plan.blocks.expected - plan.rules.reserved_blocks
    return max(0, usable // plan.request_blocks)


def least_utilization(plan: Estimate, concurrency: int = 1) -> float | None:
    """The least gpu_memory_utilization, in hundredths, that fits; None where none does."""
    for percent in range(1, _MOST_UTILIZATION + 1):
        run = replace(plan.run, utilization=percent / 100)
        if judge(estimate(plan.model, plan.gpu, run, plan.rules), concurrency).fits:
            return percent / 100
    return None


def fewest_gpus(
    model: Model, gpu: Gpu, run: Run, rules: Rules, concurrency: int = 1
) -> Estimate | None:
    """The plan with the fewest GPUs of a kind, whole nodes of eight beyond one; None for none."""
    for layout in layouts(model.shape):
        plan = estimate(model, gpu, replace(run, layout=layout), rules)
        if judge(plan, concurrency).fits:
            return plan
    return None


def layouts(shape: Shape) -> list[Layout]:
    """The ways to cut a model, fewest GPUs first."""
    inside = [gpus for gpus in (1, 2, 4, 8) if can_share(shape, gpus)]
    found = [Layout(gpus) for gpus in inside]
    nodes = [count for count in (2, 3, 4, 8, 16, 32, _MOST_NODES) if count <= shape.layers]
    return found + [Layout(inside[-1], count) for count in nodes if inside]


def layout_for(shape: Shape, gpus: int, nodes: int) -> Layout:
    """Tensor parallel inside a node and pipeline parallel across, as vLLM does it.

    Where the GPUs of a node cannot share the heads, the largest number that can does, and the
    others become stages. Raises UsageError where the layers are too few for so many stages.
    """
    tensor = next(
        count for count in range(gpus, 0, -1) if not gpus % count and can_share(shape, count)
    )
    layout = Layout(tensor, gpus // tensor * nodes)
    if layout.pipeline > shape.layers:
        raise UsageError(f"{shape.layers} layers cannot be dealt to {layout.pipeline} stages.")
    return layout


def can_share(shape: Shape, gpus: int) -> bool:
    """Whether so many GPUs can be tensor parallel."""
    most, least = max(shape.kv_heads, gpus), min(shape.kv_heads, gpus)
    return shape.heads % gpus == 0 and most % least == 0


def _most(fits: Callable[[int], bool], limit: int) -> int:
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
