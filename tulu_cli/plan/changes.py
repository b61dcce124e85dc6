"""The nearest changes that would make a plan fit, each with what it costs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tulu_cli.plan.quantization import named_quantization
from tulu_cli.plan.search import can_share, least_utilization, longest_context, most_requests
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.tensors import tensors_of
from tulu_cli.plan.verdict import judge
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate

_LEAST_CONTEXT = 256
_HIGHEST_UTILIZATION = 0.95
_FEW_SEQUENCES = 16


@dataclass(frozen=True, slots=True)
class Change:
    """An option to add, and what it costs."""

    option: str
    cost: str


def nearest_changes(plan: Estimate, concurrency: int = 1) -> tuple[Change, ...]:
    """The single changes with which the plan fits, the cheapest first."""
    return tuple(_changes(plan, concurrency))


def _changes(plan: Estimate, concurrency: int) -> Iterator[Change]:
    utilization = least_utilization(plan, concurrency)
    taken = plan.run.utilization or 0
    if utilization is not None and taken < utilization <= _HIGHEST_UTILIZATION:
        yield Change(
            f"--gpu-memory-utilization {utilization:.2f}",
            "less memory for anything else on the GPU",
        )
    if concurrency > 1 and (requests := most_requests(plan)):
        yield Change(f"--concurrency {requests}", f"{concurrency - requests} users have to wait")
    length = longest_context(plan, concurrency)
    if _LEAST_CONTEXT <= length < plan.run.max_model_len:
        yield Change(
            f"--max-model-len {length}", f"{length / plan.run.max_model_len:.0%} of the context"
        )
    for option, cost, run in _runs(plan):
        if _fits(plan, plan.model, run, concurrency):
            yield Change(option, cost)
    for option, cost, model in _models(plan):
        if _fits(plan, model, plan.run, concurrency):
            yield Change(option, cost)
            break
    yield from _more_gpus(plan, concurrency)


def _runs(plan: Estimate) -> Iterator[tuple[str, str, Run]]:
    run = plan.run
    if run.kv_dtype == "auto":
        yield (
            "--kv-cache-dtype fp8",
            "keys and values in 8 bits: a little accuracy",
            replace(run, kv_dtype="fp8"),
        )
    if plan.sequences > _FEW_SEQUENCES:
        few = replace(run, max_num_seqs=_FEW_SEQUENCES)
        yield f"--max-num-seqs {_FEW_SEQUENCES}", "fewer requests at once", few
    if not run.eager:
        yield "--eager", "no CUDA graphs: decoding may be half as fast", replace(run, eager=True)


def _models(plan: Estimate) -> Iterator[tuple[str, str, Model]]:
    if plan.model.quantization is not None:
        return
    has_fp8 = plan.gpu.card is not None and plan.gpu.card.fp8 is not None
    ways = {"awq": "4-bit weights, from a checkpoint that has them: some accuracy"}
    if has_fp8:
        ways = {"fp8": "8-bit weights: a little accuracy", **ways}
    for name, cost in ways.items():
        tensors = tensors_of(plan.model.shape, named_quantization(name))
        yield (
            f"--quantization {name}",
            cost,
            replace(plan.model, tensors=tensors, quantization=name),
        )


def _more_gpus(plan: Estimate, concurrency: int) -> Iterator[Change]:
    layout = plan.run.layout
    shape = plan.model.shape
    for gpus in (2, 4, 8):
        if gpus <= layout.tensor or not can_share(shape, gpus):
            continue
        run = replace(plan.run, layout=Layout(gpus, layout.pipeline))
        if _fits(plan, plan.model, run, concurrency):
            more = (gpus - layout.tensor) * layout.pipeline
            yield Change(f"-tp {gpus}", f"{more} more GPU{'s' * (more > 1)}")
            return


def _fits(plan: Estimate, model: Model, run: Run, concurrency: int) -> bool:
    return judge(estimate(model, plan.gpu, run, plan.rules), concurrency).fits
