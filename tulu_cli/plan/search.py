"""From an estimate to a plan: the verdict, the limits, and the nearest changes that would fit.

Each limit is the most or the least of one setting with which the model still fits, the other
settings unchanged.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.quantization import named_quantization
from tulu_cli.plan.shape import DTYPE_BYTES, Shape
from tulu_cli.plan.sharding import Layout, spread
from tulu_cli.plan.speed import Speed, bounds
from tulu_cli.plan.tensors import tensors_of
from tulu_cli.plan.values import Judgement
from tulu_cli.plan.versions import Rules
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate, judge
from tulu_cli.text import plural

_MOST_NODES = 64
_MOST_UTILIZATION = 98  # per cent; beyond it the CUDA context does not fit
_ADVISED_UTILIZATION = 0.95
_LEAST_CONTEXT = 256
_FEW_SEQUENCES = 16


class Change(NamedTuple):
    """An option of `tulu plan` to add, and what it costs."""

    option: str
    cost: str


class Plan(NamedTuple):
    """An estimate with all that follows from it for `concurrency` requests at once.

    `longest_context` is in tokens, 0 where no context fits; `most_requests` are of max_model_len
    tokens. `changes` are the single changes with which it would fit, the cheapest first.
    """

    estimate: Estimate
    concurrency: int
    judgement: Judgement
    longest_context: int
    most_requests: int
    speed: Speed
    changes: tuple[Change, ...]


def plan_of(found: Estimate, concurrency: int = 1, *, more_gpus: bool = True) -> Plan:
    """Return the plan for `concurrency` requests at once that an estimate makes.

    Without `more_gpus`, no change of it asks for GPUs, as where the machines are numbered.
    """
    judgement, longest = judge(found, concurrency), longest_context(found, concurrency)
    more = _more_gpus(found, concurrency) if more_gpus and not judgement.fits else ()
    return Plan(
        estimate=found,
        concurrency=concurrency,
        judgement=judgement,
        longest_context=longest,
        most_requests=most_requests(found),
        speed=bounds(found, concurrency),
        changes=() if judgement.fits else (*_changes(found, concurrency, longest), *more),
    )


def longest_context(found: Estimate, concurrency: int = 1) -> int:
    """Return the longest context that `concurrency` requests can have, 0 if none fits.

    It is a whole number of blocks, or all the positions of the model.
    """
    positions, size = found.model.shape.positions, found.run.block_size

    def fits(tokens: int) -> bool:
        return judge(_with(found, max_model_len=tokens), concurrency).fits

    if fits(positions):
        return positions
    return size * _most(lambda blocks: fits(blocks * size), positions // size)


def most_requests(found: Estimate) -> int:
    """Return the number of requests of max_model_len that fit at once, on all replicas."""
    usable = found.blocks.expected - found.rules.reserved_blocks
    return max(0, usable // found.request_blocks) * found.run.layout.data


def least_utilization(found: Estimate, concurrency: int = 1) -> float | None:
    """Return the least gpu_memory_utilization, in hundredths, that fits, or None."""

    def at(percent: int) -> Estimate:
        return _with(found, utilization=percent / 100)

    # More utilization is more cache and less of all that is outside of it.
    short = _most(lambda percent: not at(percent).has_blocks(concurrency), _MOST_UTILIZATION)
    least = short + 1
    if least > _MOST_UTILIZATION or not judge(at(least), concurrency).fits:
        return None
    return least / 100


def fewest_gpus(
    model: Model, gpu: Gpu, run: Run, rules: Rules, concurrency: int = 1
) -> Estimate | None:
    """Return the estimate with the fewest GPUs of one kind that fits, or None.

    Several nodes have as many GPUs each as can share the model, up to eight. The replicas are
    those of the run.
    """
    for each in layouts(model.shape):
        if run.draft is not None and (
            each.pipeline > 1 or not can_share(run.draft.shape, each.tensor)
        ):
            continue  # a draft model is cut as the model is, and not into stages
        layout = run.layout._replace(tensor=each.tensor, pipeline=each.pipeline)
        found = estimate(model, gpu, run._replace(layout=layout), rules)
        if judge(found, concurrency).fits:
            return found
    return None


def layouts(shape: Shape) -> list[Layout]:
    """Return the ways to divide a model, fewest GPUs first."""
    inside = [gpus for gpus in (1, 2, 4, 8) if can_share(shape, gpus)]
    found = [Layout(gpus) for gpus in inside]
    nodes = [count for count in (2, 3, 4, 8, 16, 32, _MOST_NODES) if count <= shape.layers]
    return found + [Layout(inside[-1], count) for count in nodes if inside]


def layout_for(shape: Shape, gpus: int, nodes: int) -> Layout:
    """Return the layout for `gpus` in each of `nodes`: tensor parallel inside, pipeline across.

    Where the GPUs of a node cannot share the heads, the largest number that can does, and the
    others become stages. Raise UsageError if there are more stages than layers.
    """
    tensor = next(
        count for count in range(gpus, 0, -1) if not gpus % count and can_share(shape, count)
    )
    layout = Layout(tensor, gpus // tensor * nodes)
    if layout.pipeline > shape.layers:
        raise UsageError(
            f"{shape.layers} layers cannot be split over {layout.pipeline} pipeline stages: choose "
            "fewer GPUs."
        )
    return layout


def share_machines(
    machines: tuple[int, int],
    replicas: int,
    *,
    tensor: int | None = None,
    pipeline: int | None = None,
) -> Layout:
    """Return the layout of replicas that share (GPUs a machine, machines).

    What is None follows from the rest: tensor parallelism over the GPUs that a replica has in a
    machine, which are near, and pipeline parallelism over its machines, which are far. Raise
    UsageError where they cannot be shared evenly. Whether there are GPUs for sizes that are given
    is not asked.
    """
    gpus, nodes = machines
    spanned, local = spread(replicas, nodes)
    stages = spanned if pipeline is None else pipeline
    if tensor is None:
        parts = local * stages
        tensor, rest = divmod(gpus * spanned, parts)
        if rest or not tensor:
            what = "replicas" if pipeline is None else "pipeline stages"
            raise UsageError(
                f"{parts} {what} cannot share {plural(gpus * spanned, 'GPU')} evenly: give the "
                "GPUs of each by -tp."
            )
    if tensor * stages % spanned:
        raise UsageError(
            f"-tp {tensor} -pp {stages} cannot be divided over {spanned} machines evenly: choose "
            "sizes whose product can."
        )
    return Layout(tensor, stages, replicas)


def can_share(shape: Shape, gpus: int) -> bool:
    """Return True if `gpus` GPUs can be tensor parallel."""
    most, least = max(shape.kv_heads, gpus), min(shape.kv_heads, gpus)
    return shape.heads % gpus == 0 and most % least == 0


def concurrency_by_context(found: Estimate) -> list[tuple[float, float]]:
    """Return (context length, requests at once) at each doubling, while one request fits."""
    points: list[tuple[float, float]] = []
    tokens = _LEAST_CONTEXT
    while tokens <= found.model.shape.positions:
        there = _with(found, max_model_len=tokens)
        if (concurrency := there.concurrency(there.blocks.expected)) >= 1:
            points.append((tokens, concurrency))
        tokens *= 2
    return points


def _changes(found: Estimate, concurrency: int, longest: int) -> Iterator[Change]:
    """Yield the single changes with which the model fits, the cheapest first."""
    utilization = least_utilization(found, concurrency)
    taken = found.run.utilization or 0
    if utilization is not None and taken < utilization <= _ADVISED_UTILIZATION:
        yield Change(
            f"--gpu-memory-utilization {utilization:.2f}",
            "less memory for anything else on the GPU",
        )
    if concurrency > 1 and (requests := most_requests(found)):
        yield Change(f"--concurrency {requests}", f"{concurrency - requests} users have to wait")
    if _LEAST_CONTEXT <= longest < found.run.max_model_len:
        share = longest / found.run.max_model_len
        yield Change(f"--max-model-len {longest}", f"{share:.0%} of the context")
    for option, cost, run in _runs(found):
        if _fits(found, found.model, run, concurrency):
            yield Change(option, cost)
    for option, cost, model in _models(found):
        if _fits(found, model, found.run, concurrency):
            yield Change(option, cost)
            break


def _runs(found: Estimate) -> Iterator[tuple[str, str, Run]]:
    run = found.run
    if run.kv_dtype == "auto" and found.kv_dtype in DTYPE_BYTES:
        yield (
            "--kv-cache-dtype fp8",
            "keys and values in 8 bits: a little accuracy",
            run._replace(kv_dtype="fp8"),
        )
    if found.sequences > _FEW_SEQUENCES:
        few = run._replace(max_num_seqs=_FEW_SEQUENCES)
        yield f"--max-num-seqs {_FEW_SEQUENCES}", "fewer requests at once", few
    if not run.eager:
        without = run._replace(eager=True)
        yield "--enforce-eager", "no CUDA graphs: decoding may be half as fast", without


def _models(found: Estimate) -> Iterator[tuple[str, str, Model]]:
    if found.model.quantization is not None or found.model.shape.partial:
        return
    has_fp8 = found.gpu.card is not None and found.gpu.card.fp8 is not None
    ways = {"awq": "4-bit weights, from a checkpoint that has them: some accuracy"}
    if has_fp8:
        ways = {"fp8": "8-bit weights: a little accuracy", **ways}
    for name, cost in ways.items():
        tensors = tensors_of(found.model.shape, named_quantization(name))
        quantized = replace(found.model, tensors=tensors, quantization=name)
        yield f"--quantization {name}", cost, quantized


def _more_gpus(found: Estimate, concurrency: int) -> Iterator[Change]:
    layout = found.run.layout
    for gpus in (2, 4, 8):
        shapes = [one.shape for one in (found.model, found.run.draft) if one is not None]
        if gpus <= layout.tensor or not all(can_share(shape, gpus) for shape in shapes):
            continue
        run = found.run._replace(layout=layout._replace(tensor=gpus))
        if _fits(found, found.model, run, concurrency):
            more = run.layout.gpus - layout.gpus
            stages = f" -pp {layout.pipeline}" if layout.pipeline > 1 else ""
            yield Change(f"-tp {gpus}{stages}", f"{more} more {'GPUs' if more > 1 else 'GPU'}")
            return


def _fits(found: Estimate, model: Model, run: Run, concurrency: int) -> bool:
    return judge(estimate(model, found.gpu, run, found.rules), concurrency).fits


def _with(found: Estimate, **changes: Any) -> Estimate:
    """Return the estimate again with some settings of its run changed."""
    return estimate(found.model, found.gpu, found.run._replace(**changes), found.rules)


def _most(holds: Callable[[int], bool], limit: int) -> int:
    """Return the largest number up to `limit` for which `holds`, 0 if there is none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
