"""The steps of `tulu plan`: the models, the GPUs, the plans, and what is printed of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tulu_cli.errors import DoesNotFit, TuluError, UsageError
from tulu_cli.plan import text as views
from tulu_cli.plan.gpus import Gpu, catalogue_gpu, parse_gpu
from tulu_cli.plan.quantization import without_plugin
from tulu_cli.plan.search import (
    fewest_gpus,
    layout_for,
    least_utilization,
    longest_context,
    most_requests,
)
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.verdict import Judgement, Verdict, judge
from tulu_cli.plan.versions import NEWEST, Rules, Version, newer_than_known, rules_of
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Settings
    from tulu_cli.streams import Streams


_ADVISED_CONTEXT = 8192  # by the model card of Tülu 3


def plan_for_vllm(
    chosen: "PlanOptions", streams: "Streams", machine: "Callable[[], Machine]"
) -> None:
    """Plan for vLLM: one model on given GPUs, several on the same, or one over the catalogue."""
    models = [read_model(chosen, name) for name in chosen.models]
    version = _release(chosen)
    check_quantization(models, version)
    if said := newer_than_known(version):
        streams.say(f"tulu: {said}")
    gpu, count = choose_gpus(chosen.gpu, streams, machine)
    rules = rules_of(version)
    if gpu is None:
        if flag := chosen.of_one_gpu():
            raise UsageError(f"{flag} needs a GPU, and there is none here: name one with --gpu.")
        _rank_alternatives(chosen, streams, models[0], rules)
        return
    if chosen.find == "gpus":
        run = run_of(chosen, models[0], Layout())
        fewest = fewest_gpus(models[0], gpu, run, rules, chosen.concurrency)
        _print_found(chosen, streams, models[0], fewest.run.layout.gpus if fewest else None)
        return
    plans = [
        estimate(model, gpu, run_of(chosen, model, choose_layout(chosen, model, count)), rules)
        for model in models
    ]
    if chosen.find:
        _print_found(chosen, streams, models[0], _find(chosen, plans[0]))
        return
    _print_plans(chosen, streams, plans, version)
    if chosen.plot:
        _draw(chosen, streams, plans)
    conclude(streams, [(plan.model.name, judge(plan, chosen.concurrency)) for plan in plans])


def plan_for_transformers(
    chosen: "PlanOptions", streams: "Streams", machine: "Callable[[], Machine]"
) -> None:
    """Plan for transformers, which takes memory as it goes."""
    from tulu_cli.plan.report import transformers_report
    from tulu_cli.plan.transformers import Generation, plan_transformers

    gpu, count = choose_gpus(chosen.gpu, streams, machine)
    if gpu is None:
        raise UsageError("There is no GPU here: name one with --gpu, such as --gpu 24GiB.")
    models = [read_model(chosen, name) for name in chosen.models]
    plans = [
        plan_transformers(
            model,
            Generation(_context(chosen, model), chosen.batch, chosen.beams, chosen.static_cache),
            gpu,
            count * chosen.nodes,
        )
        for model in models
    ]
    if chosen.json_output:
        _print_json(streams, [transformers_report(plan) for plan in plans])
    else:
        streams.write("\n".join(map(views.transformers_text, plans)))
    conclude(streams, [(plan.model.name, plan.judgement) for plan in plans])


def read_model(chosen: "PlanOptions", name: str) -> Model:
    """The model behind a name. Raises what `plan_model` raises."""
    from tulu_cli.models import resolve
    from tulu_cli.plan.read import plan_model

    return plan_model(
        resolve(name, chosen.settings.aliases),
        engine=chosen.engine,
        offline=chosen.offline,
        dtype=chosen.settings.get("dtype", "auto"),
        quantization=chosen.quantization,
    )


def check_quantization(models: Sequence[Model], version: Version) -> None:
    """Raises UsageError for weights that this vLLM loads with a plug-in only, which is not here."""
    from tulu_cli.machine import read_packages

    packages = read_packages()
    for model in models:
        if why := without_plugin(model.name, model.quantization, version, packages):
            raise UsageError(why)


def choose_gpus(
    asked: str | None, streams: "Streams", machine: "Callable[[], Machine]"
) -> tuple[Gpu | None, int]:
    """The GPU to plan for and how many: the one asked for, or this machine's; None for none.

    Of several that differ the one with the least room counts, as every rank gets the same share.
    """
    if asked is not None:
        return parse_gpu(asked)
    from tulu_cli.plan.read import machine_gpus, occupants

    here = machine()
    gpus = machine_gpus(here)
    if not gpus:
        return None, 0
    for line in occupants(here):
        streams.say(f"tulu: {line}")
    return min(gpus, key=lambda gpu: (gpu.free_bytes, gpu.total_bytes)), len(gpus)


def choose_layout(chosen: "PlanOptions", model: Model, count: int) -> Layout:
    """The layout that was asked for, else tensor parallel inside a node and stages across."""
    tensor = chosen.settings.get("tensor_parallel_size")
    pipeline = chosen.settings.get("pipeline_parallel_size")
    if tensor is None and pipeline is None:
        return layout_for(model.shape, count, chosen.nodes)
    layout = Layout(tensor or 1, pipeline or 1)
    # One GPU by its name alone says which kind, and the layout how many.
    counted = chosen.gpu is None or ":" in chosen.gpu or chosen.nodes > 1
    if counted and layout.gpus > count * chosen.nodes:
        raise UsageError(f"{layout.gpus} GPUs are asked for, and there are {count * chosen.nodes}.")
    return layout


def run_of(chosen: "PlanOptions", model: Model, layout: Layout) -> Run:
    """How vLLM would be started. Raises UsageError for a context that the model does not have."""
    return Run(
        max_model_len=_context(chosen, model),
        layout=layout,
        utilization=chosen.settings.get("gpu_memory_utilization"),
        kv_dtype=chosen.kv_cache_dtype,
        block_size=chosen.block_size,
        max_num_seqs=chosen.max_num_seqs,
        max_num_batched_tokens=chosen.max_num_batched_tokens,
        eager=chosen.eager,
    )


def conclude(streams: "Streams", judgements: Sequence[tuple[str, Judgement]]) -> None:
    """Warn of what fits only just. Raises DoesNotFit if anything does not fit."""
    for name, judgement in judgements:
        if judgement.verdict is Verdict.TIGHT:
            streams.say(f"tulu: {name} fits only just, inside the uncertainty of the plan.")
    for name, judgement in judgements:
        if not judgement.fits:
            raise DoesNotFit(f"{name} does not fit: {judgement.reason}.")


def _release(chosen: "PlanOptions") -> Version:
    from tulu_cli.plan.read import release

    return release(chosen.vllm_version)


def _context(chosen: "PlanOptions", model: Model) -> int:
    asked, most = chosen.settings.get("max_model_len"), model.shape.positions
    if asked is None:
        return min(_ADVISED_CONTEXT, most)
    if asked > most:
        raise UsageError(f"--max-model-len {asked:,} is more than the model's {most:,} tokens.")
    return int(asked)


def _rank_alternatives(
    chosen: "PlanOptions", streams: "Streams", model: Model, rules: Rules
) -> None:
    from tulu_cli.plan.gpus import CARDS
    from tulu_cli.plan.report import report

    gpus = [catalogue_gpu(card) for card in CARDS]
    run = run_of(chosen, model, Layout())
    found = [fewest_gpus(model, gpu, run, rules, chosen.concurrency) for gpu in gpus]
    plans = [plan for plan in found if plan is not None]
    plans.sort(key=lambda plan: (plan.run.layout.gpus, plan.gpu.total_bytes))
    if chosen.json_output:
        _print_json(streams, [report(plan, chosen.concurrency) for plan in plans])
    elif plans:
        streams.write(views.plans_text(plans, chosen.concurrency))
    if not plans:
        raise DoesNotFit(f"{model.name} fits on none of them: a shorter context needs less.")


def _print_found(
    chosen: "PlanOptions", streams: "Streams", model: Model, found: float | None
) -> None:
    if not found:
        what = "number of GPUs" if chosen.find == "gpus" else chosen.find
        raise DoesNotFit(f"There is no {what} with which {model.name} fits here.")
    if chosen.json_output:
        _print_json(streams, [{"find": chosen.find, "value": found}])
    else:
        streams.write(f"{found}\n")


def _find(chosen: "PlanOptions", plan: Estimate) -> float | None:
    if chosen.find == "concurrency":
        return most_requests(plan)
    if chosen.find == "utilization":
        return least_utilization(plan, chosen.concurrency)
    return longest_context(plan, chosen.concurrency)


def _print_plans(
    chosen: "PlanOptions", streams: "Streams", plans: Sequence[Estimate], version: Version
) -> None:
    if chosen.json_output:
        from tulu_cli.plan.report import report

        releases = {"vllm_version": version, "planned_as": min(version, NEWEST)}
        head = {name: ".".join(map(str, release)) for name, release in releases.items()}
        _print_json(streams, [head | report(plan, chosen.concurrency) for plan in plans])
        return
    if len(plans) > 1:
        streams.write(views.plans_text(plans, chosen.concurrency, models=True))
        return
    plan, name = plans[0], chosen.models[0]
    text = views.plan_text(plan, chosen.concurrency, version, bars=streams.stdout_tty)
    streams.write(text)
    if judge(plan, chosen.concurrency).fits:
        from tulu_cli.plan.text import ready_commands

        lines = ready_commands(
            plan,
            _name_for_engines(chosen, name),
            nodes=chosen.nodes,
            quantization=chosen.quantization,
        )
        streams.write("\n" + "".join(f"  {line}\n" for line in lines))
    else:
        from tulu_cli.plan.changes import nearest_changes

        streams.write("\n" + views.changes_text(nearest_changes(plan, chosen.concurrency)))
    if chosen.explain:
        streams.write("\n" + "".join(f"{line}\n" for line in views.explained(plan, version)))


def _name_for_engines(chosen: "PlanOptions", name: str) -> str:
    """What vLLM knows the model by: aliases are ours alone."""
    from tulu_cli.models import resolve

    ref = resolve(name, chosen.settings.aliases)
    return ref.repo or str(ref.path or name)


def _print_json(streams: "Streams", reports: Sequence[dict[str, Any]]) -> None:
    import json

    document = reports[0] if len(reports) == 1 else {"plans": list(reports)}
    streams.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def _draw(chosen: "PlanOptions", streams: "Streams", plans: Sequence[Estimate]) -> None:
    from pathlib import Path

    from tulu_cli.plan.curve import curves

    series = {plan.model.name: _curve(plan) for plan in plans}
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        raise DoesNotFit("There is nothing to draw: not one block of KV cache is left.")
    text = curves(
        drawn,
        title=f"Requests at once on {plans[0].run.layout.gpus} x {plans[0].gpu.name}",
        across="context length of each request (tokens)",
        up="requests at once",
    )
    path = Path(str(chosen.plot))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TuluError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    streams.say(f"tulu: drew {path}")


def _curve(plan: Estimate) -> list[tuple[float, float]]:
    """Concurrency at each doubling of the context, as far as one request fits."""
    points: list[tuple[float, float]] = []
    tokens = 256
    while tokens <= plan.model.shape.positions:
        run = replace(plan.run, max_model_len=tokens)
        one = estimate(plan.model, plan.gpu, run, plan.rules)
        if (concurrency := one.concurrency(one.blocks.expected)) >= 1:
            points.append((tokens, concurrency))
        tokens *= 2
    return points


@dataclass(frozen=True)
class PlanOptions:
    """What the command line asks for, understood."""

    models: tuple[str, ...]
    settings: "Settings"
    gpu: str | None = None
    nodes: int = 1
    engine: Literal["vllm", "transformers"] = "vllm"
    quantization: str | None = None
    concurrency: int = 1
    kv_cache_dtype: str = "auto"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int = 16
    eager: bool = False
    vllm_version: str | None = None
    batch: int = 1
    beams: int = 1
    static_cache: bool = False
    find: str | None = None
    explain: bool = False
    plot: str | None = None
    json_output: bool = False
    offline: bool = False

    def of_one_gpu(self) -> str | None:
        """An option that is asked for and has no meaning for a whole catalogue of GPUs."""
        asked = {
            "--compare": len(self.models) > 1,
            "--find": self.find,
            "--explain": self.explain,
            "--plot": self.plot,
        }
        return next((flag for flag, value in asked.items() if value), None)
