"""The run of `tulu plan`: the models, the GPUs, the plans, and what is printed of them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tulu_cli.disk import writing
from tulu_cli.errors import BadInput, DoesNotFit, UsageError
from tulu_cli.plan.gpus import Gpu, catalogue_gpu, parse_gpu
from tulu_cli.plan.quantization import without_plugin
from tulu_cli.plan.search import (
    Change,
    Plan,
    concurrency_by_context,
    fewest_gpus,
    layout_for,
    least_utilization,
    longest_context,
    most_requests,
    plan_of,
    share_machines,
)
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.values import GIB, Judgement, Verdict
from tulu_cli.plan.versions import NEWEST, Rules, Version, newer_than_known, rules_of
from tulu_cli.plan.vllm import BLOCK_SIZE, CONTEXT, Drafting, Estimate, Model, Run, estimate
from tulu_cli.text import gib, shown

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.models.adapter import Adapter
    from tulu_cli.plan.layouts import Option
    from tulu_cli.plan.log import Log
    from tulu_cli.streams import Streams


# The options that mean something for one engine only, by the engine.
_OF_ENGINE = {
    "vllm": (
        "concurrency",
        "kv_cache_dtype",
        "data_parallel_size",
        "enable_expert_parallel",
        "kv_cache_memory_bytes",
        "cpu_offload_gb",
        "usage_context",
        "log",
        "max_num_seqs",
        "max_num_batched_tokens",
        "block_size",
        "enforce_eager",
        "vllm_version",
        "find",
        "explain",
        "plot",
        "draft",
        "draft_tokens",
    ),
    "transformers": ("batch_size", "num_beams", "static_cache", "quantized_cache"),
}


class PlanOptions(NamedTuple):
    """The options of the command line and the settings, by their names.

    None is the default of vLLM or of the model. `aliases` are the user's names of models.
    """

    models: tuple[str, ...]
    aliases: Mapping[str, str] = MappingProxyType({})
    gpu: str | None = None
    nodes: int | None = None
    engine: Literal["vllm", "transformers"] = "vllm"
    max_model_len: int | None = None
    concurrency: int = 1
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    enable_expert_parallel: bool = False
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    cpu_offload_gb: float = 0.0
    usage_context: Literal["server", "llm"] = "server"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int = BLOCK_SIZE
    enforce_eager: bool = False
    vllm_version: str | None = None
    batch_size: int = 1
    num_beams: int = 1
    static_cache: bool = False
    quantized_cache: int | None = None
    log: str | None = None
    find: str | None = None
    explain: bool = False
    plot: str | None = None
    json_output: bool = False
    offline: bool = False
    adapters: tuple[str, ...] = ()
    draft: str | None = None
    draft_tokens: int | None = None

    @property
    def machines(self) -> int:
        """The number of machines, which have the same GPUs each."""
        return self.nodes or 1

    @property
    def has_layouts(self) -> bool:
        """True if the machines are numbered: their layouts and links are then of interest."""
        return self.nodes is not None and len(self.models) == 1 and not self.find and not self.log

    def of_one_gpu(self) -> str | None:
        """Return an option that was given and means nothing for a whole catalogue of GPUs."""
        asked = {
            "--compare": len(self.models) > 1,
            "--find": self.find,
            "--explain": self.explain,
            "--nodes": self.nodes,
            "--plot": self.plot,
        }
        return next((flag for flag, value in asked.items() if value), None)

    def check_engine(self) -> None:
        """Raise UsageError for an option that was given and means nothing for the engine."""
        untouched = PlanOptions(())
        for engine, names in _OF_ENGINE.items():
            for name in names if engine != self.engine else ():
                if getattr(self, name) != getattr(untouched, name):
                    flag = f"--{name.replace('_', '-')}"
                    raise UsageError(
                        f"{flag} is for --engine {engine} only: leave it out for {self.engine}."
                    )


def run(chosen: PlanOptions, streams: "Streams", machine: "Callable[[], Machine]") -> None:
    """Plan and print. Raise DoesNotFit, after the plan is printed, if a model does not fit.

    Raise UsageError for options that do not go together.

    `machine` reads this computer, and is called only if no GPU was named.
    """
    chosen.check_engine()
    if chosen.draft is None and chosen.draft_tokens is not None:
        raise UsageError("--draft-tokens goes with --draft MODEL or --draft ngram.")
    if chosen.engine == "transformers":
        _run_transformers(chosen, streams, machine)
    else:
        _run_vllm(chosen, streams, machine)


def _run_vllm(chosen: PlanOptions, streams: "Streams", machine: "Callable[[], Machine]") -> None:
    """Plan for vLLM: one model on given GPUs, several on the same, or one over the catalogue."""
    from tulu_cli.plan.read import release

    log = _read_log(chosen.log, streams) if chosen.log is not None else None
    if log is not None:
        chosen = _with_settings(chosen, log)
    models = [_read_model(chosen, name) for name in chosen.models]
    version = release(chosen.vllm_version)
    _check_quantization(models, version)
    if said := newer_than_known(version):
        streams.say(f"tulu: {said}")
    gpu, count = _logged_gpu(chosen, log) if log else _choose_gpus(chosen.gpu, streams, machine)
    rules = rules_of(version)
    if any(not model.shape.known for model in models):
        _weigh(chosen, streams, models, gpu, count)
        return
    if gpu is None:
        if flag := chosen.of_one_gpu():
            raise UsageError(f"{flag} needs a GPU, and this machine has none: name one with --gpu.")
        _rank_catalogue(chosen, streams, models[0], rules)
        return
    if chosen.find == "gpus":
        fewest = fewest_gpus(
            models[0], gpu, _run_of(chosen, models[0], _replicas(chosen)), rules, chosen.concurrency
        )
        _print_found(chosen, streams, models[0], fewest.run.layout.gpus if fewest else None)
        return
    options = _options(chosen, models[0], gpu, count, rules) if chosen.has_layouts else []
    found = [one.estimate for one in options[:1]] or [
        estimate(model, gpu, _run_of(chosen, model, _choose_layout(chosen, model, count)), rules)
        for model in models
    ]
    if chosen.find:
        _print_found(chosen, streams, models[0], _find(chosen, found[0]))
        return
    plans = [plan_of(each, chosen.concurrency, more_gpus=not options) for each in found]
    plans = [_with_gpus(chosen.gpu, plan) for plan in plans]
    if log is not None:
        _print_comparison(chosen, streams, log, plans[0], version)
        return
    _print_plans(chosen, streams, plans, version, count, options)
    if chosen.plot:
        _draw(chosen.plot, streams, plans)
    _conclude(streams, [(plan.estimate.model.name, plan.judgement) for plan in plans])


def _with_gpus(asked: str | None, plan: Plan) -> Plan:
    """Return the plan with changes that name as many GPUs as they need, where --gpu counts them."""
    kind, colon, _ = (asked or "").partition(":")
    layout = plan.estimate.run.layout
    if not colon:
        return plan

    def named(change: Change) -> Change:
        flag, *values = change.option.split()
        if flag != "-tp":
            return change
        gpus = layout.gpus // layout.tensor * int(values[0])
        return change._replace(option=f"{change.option} --gpu {kind}:{gpus}")

    return plan._replace(changes=tuple(map(named, plan.changes)))


def _weigh(
    chosen: PlanOptions, streams: "Streams", models: Sequence[Model], gpu: Gpu | None, count: int
) -> None:
    """Print the weights alone, of an architecture whose cache and activations are not known.

    Raise UnknownArchitecture for what needs a whole plan, and DoesNotFit for weights that are more
    than the GPUs have.
    """
    from tulu_cli.plan.decoder import UnknownArchitecture
    from tulu_cli.plan.weights import weight_bytes

    (unknown, *_) = (model for model in models if not model.shape.known)
    why = f"KV cache of {unknown.shape.architecture} unknown: only weights can be counted"
    beside = {"--adapter": chosen.adapters, "--draft": chosen.draft}
    if gpu is None:
        raise UnknownArchitecture(f"{why}. Name a GPU with --gpu.")
    flag = chosen.of_one_gpu() or next((flag for flag, value in beside.items() if value), None)
    if flag is not None:
        raise UnknownArchitecture(f"{why}. Leave {flag} out.")
    weights = weight_bytes(unknown)
    if chosen.json_output:
        found = {"model": unknown.name, "engine": chosen.engine, "verdict": "unknown"}
        _print_json(streams, found | {"reason": why, "weights_bytes": weights, "gpus": count})
    else:
        streams.write(
            f"{unknown.name} on {count} x {gpu.name}: {why}\n  weights {gib(weights)}, of "
            f"{gib(gpu.free_bytes * count)} that are free; the rest is for cache and activations\n"
        )
    if weights > gpu.free_bytes * count:
        raise DoesNotFit(
            f"{unknown.name} does not fit: its weights are {gib(weights)}, and "
            f"{gib(gpu.free_bytes * count)} are free."
        )


def _run_transformers(
    chosen: PlanOptions, streams: "Streams", machine: "Callable[[], Machine]"
) -> None:
    """Plan for transformers, which takes memory as it goes."""
    from tulu_cli.plan.transformers import Generation, plan_transformers

    gpu, count = _choose_gpus(chosen.gpu, streams, machine)
    if gpu is None:
        raise UsageError("This machine has no GPU: name one with --gpu, such as --gpu 24GiB.")
    gpus = [gpu] * (count * chosen.machines)
    if chosen.gpu is None:
        from tulu_cli.plan.read import machine_gpus

        gpus = [*machine_gpus(machine())]  # which may differ
    plans = []
    models = [_read_model(chosen, name) for name in chosen.models]
    if any(not model.shape.known for model in models):
        _weigh(chosen, streams, models, gpu, count)
        return
    for model in models:
        tokens, batch, beams = _context(chosen, model), chosen.batch_size, chosen.num_beams
        generation = Generation(tokens, batch, beams, chosen.static_cache, chosen.quantized_cache)
        plans.append(plan_transformers(_with_adapters(chosen, model), generation, gpus))
    if chosen.json_output:
        from tulu_cli.plan.report import transformers_report

        _print_json(streams, _one_or_all([transformers_report(plan) for plan in plans]))
    else:
        from tulu_cli.plan.text import transformers_text

        streams.write("\n".join(map(transformers_text, plans)))
    _conclude(streams, [(plan.model.name, plan.judgement) for plan in plans])


def _read_model(chosen: PlanOptions, name: str) -> Model:
    from tulu_cli.models import resolve
    from tulu_cli.plan.read import plan_model

    return plan_model(
        resolve(name, chosen.aliases),
        engine=chosen.engine,
        offline=chosen.offline,
        dtype=chosen.dtype,
        quantization=chosen.quantization,
    )


def _check_quantization(models: Sequence[Model], version: Version) -> None:
    """Raise UsageError for weights that this vLLM loads only with a plug-in that is missing."""
    from tulu_cli.machine import read_packages

    quantized = [model for model in models if model.quantization is not None]
    packages = read_packages() if quantized else {}
    for model in quantized:
        if why := without_plugin(model.name, model.quantization, version, packages):
            raise UsageError(why)


def _choose_gpus(
    asked: str | None, streams: "Streams", machine: "Callable[[], Machine]"
) -> tuple[Gpu | None, int]:
    """Return the GPU to plan for, asked for or of this machine, and how many; None for none.

    Of several that differ, the one with the least free memory counts: every rank takes the same.
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


def _read_log(name: str, streams: "Streams") -> "Log":
    """Read a start-up log from a file, a pipe or stdin. Raise a TuluError if there is none."""
    from pathlib import Path

    from tulu_cli.disk import reading
    from tulu_cli.plan.log import read_log

    if name == "-":
        data = streams.read()
    else:
        with reading(name):
            data = Path(name).read_bytes()
    log = read_log(data.decode(errors="replace"))
    if log.is_empty:
        where = "stdin" if name == "-" else shown(name)
        raise BadInput(
            f"{where} has no figure of vLLM's memory, such as a line with 'Model loading took': "
            "give the log of a start."
        )
    return log


def _with_settings(chosen: PlanOptions, log: "Log") -> PlanOptions:
    """Return the options with the settings of a log for those that were not given."""
    from tulu_cli.plan.shape import DTYPE_BYTES, KV_DTYPE_BYTES

    said = dict(log.settings)
    if said.get("dtype") not in DTYPE_BYTES:
        said.pop("dtype", None)
    if said.get("kv_cache_dtype") not in KV_DTYPE_BYTES:
        said.pop("kv_cache_dtype", None)
    if log.version is not None:
        said["vllm_version"] = ".".join(map(str, log.version))
    untouched = PlanOptions(())
    given = {name for name in said if getattr(chosen, name) != getattr(untouched, name)}
    return chosen._replace(**{name: value for name, value in said.items() if name not in given})


def _logged_gpu(chosen: PlanOptions, log: "Log") -> tuple[Gpu, int]:
    """Return the GPU that was asked for with the memory that the log prints; a size asked for wins.

    There are as many as the layout needs. Raise UsageError if neither names one.
    """
    asked = chosen.gpu
    count = (chosen.tensor_parallel_size or 1) * (chosen.pipeline_parallel_size or 1)
    count *= chosen.data_parallel_size or 1
    if asked is None:
        if log.total is None:
            raise UsageError("The log does not print the memory of a GPU: name it with --gpu.")
        gpu = Gpu(f"{log.total / GIB:g} GiB", log.total, log.total)
    else:
        gpu, asked_count = parse_gpu(asked)
        count = max(count, asked_count)
        if gpu.card is None or "@" in asked or log.total is None:
            return gpu, count
    assert log.total is not None
    free = log.total if log.free is None else min(log.total, log.free + CONTEXT.low)
    return gpu._replace(total_bytes=log.total, free_bytes=free), count


def _print_comparison(
    chosen: PlanOptions, streams: "Streams", log: "Log", plan: Plan, version: Version
) -> None:
    from tulu_cli.plan.compare import compare

    found = compare(log, plan)
    if chosen.json_output:
        from tulu_cli.plan.report import comparison_report

        _print_json(streams, _releases(version) | comparison_report(found))
    else:
        from tulu_cli.plan.text import comparison_text

        streams.write(comparison_text(found, version))


def _choose_layout(chosen: PlanOptions, model: Model, count: int) -> Layout:
    """Return the layout that was asked for, else the one that vLLM's documentation advises.

    A size that is missing follows from the machines, as in the script of `tulu serve --nodes` or
    --replicas; for one server on one machine, and beside a log, it is vLLM's default, which is 1.
    Raise UsageError for a layout that the machines cannot have.
    """
    tensor, pipeline = chosen.tensor_parallel_size, chosen.pipeline_parallel_size
    replicas, machines = _replicas(chosen), (count, chosen.machines)
    if tensor is None and pipeline is None:
        found = share_machines(machines, replicas.data)
        found = layout_for(model.shape, found.tensor, found.pipeline)
        return replicas._replace(tensor=found.tensor, pipeline=found.pipeline)
    # One GPU by its name alone says which kind, and the layout how many.
    counted = chosen.gpu is None or ":" in chosen.gpu or chosen.machines > 1
    is_script = chosen.nodes is not None or replicas.data > 1
    if chosen.log is not None:
        found = Layout(tensor or 1, pipeline or 1)
    else:
        asked = tensor if is_script and counted else tensor or 1
        found = share_machines(machines, replicas.data, tensor=asked, pipeline=pipeline)
    layout = replicas._replace(tensor=found.tensor, pipeline=found.pipeline)
    if counted and layout.gpus > count * chosen.machines:
        replicated = f" -dp {layout.data}" if layout.data > 1 else ""
        spread = "give -pp too, or " if pipeline is None and layout.pipeline > 1 else ""
        raise UsageError(
            f"-tp {layout.tensor} -pp {layout.pipeline}{replicated} needs {layout.gpus} GPUs, and "
            f"there are {count * chosen.machines}: {spread}name more with --gpu, such as "
            f"--gpu h100:{layout.gpus // chosen.machines}."
        )
    return layout


def _replicas(chosen: PlanOptions) -> Layout:
    """Return the layout of as many replicas as were asked for, each on one GPU."""
    return Layout(data=chosen.data_parallel_size or 1, whole_experts=chosen.enable_expert_parallel)


def _run_of(chosen: PlanOptions, model: Model, layout: Layout) -> Run:
    slots = None
    if chosen.adapters:
        from tulu_cli.plan.adapters import slots_for

        slots = slots_for(_read_adapters(chosen, model))
    return Run(
        adapters=slots,
        drafting=_read_draft(chosen, model),
        max_model_len=_context(chosen, model),
        layout=layout,
        utilization=chosen.gpu_memory_utilization,
        kv_dtype=chosen.kv_cache_dtype,
        block_size=chosen.block_size,
        max_num_seqs=chosen.max_num_seqs,
        max_num_batched_tokens=chosen.max_num_batched_tokens,
        eager=chosen.enforce_eager,
        kv_cache_bytes=chosen.kv_cache_memory_bytes,
        offloaded_bytes=int(chosen.cpu_offload_gb * GIB),
        usage=chosen.usage_context,
    )


def _read_adapters(chosen: PlanOptions, model: Model) -> list["Adapter"]:
    """Return the adapters that are planned for. Raise UsageError for one of another model."""
    if not chosen.adapters:
        return []
    from tulu_cli.models.adapter import check_base, check_name, locate_adapter, named, read_adapter

    found: list[Adapter] = []
    for text in chosen.adapters:
        name, place = named(chosen.aliases.get(text, text))
        adapter = read_adapter(locate_adapter(place, offline=chosen.offline), name)
        bits = 8 * model.shape.dtype_bytes
        plain = [(one.name, "BF16", one.shape) for one in model.tensors if one.bits == bits]
        check_base(adapter, model.name, plain if len(plain) == len(model.tensors) else ())
        check_name(adapter, place, found)
        found.append(adapter)
    return found


def _read_draft(chosen: PlanOptions, model: Model) -> Drafting | None:
    """Return the draft that is planned for. Raise UsageError for one that is not a whole model."""
    from tulu_cli.models.draft import DEFAULT_TOKENS, NGRAM, refuse_head
    from tulu_cli.plan.read import plan_model

    if chosen.draft is None:
        return None
    tokens = chosen.draft_tokens or DEFAULT_TOKENS
    if chosen.draft == NGRAM:
        return Drafting(tokens)
    from tulu_cli.models import resolve

    # vLLM loads it in the data type of the model.
    draft = plan_model(
        resolve(chosen.draft, chosen.aliases), offline=chosen.offline, dtype=model.shape.dtype
    )
    refuse_head(draft.name, {"architectures": [draft.shape.architecture]})
    return Drafting(tokens, draft)


def _with_adapters(chosen: PlanOptions, model: Model) -> Model:
    """Return the model with the tensors of its adapters, as transformers loads them."""
    if not chosen.adapters:
        return model
    from dataclasses import replace

    from tulu_cli.plan.adapters import adapter_tensors

    bits = 8 * model.shape.dtype_bytes
    tensors = [each for one in _read_adapters(chosen, model) for each in adapter_tensors(one, bits)]
    return replace(model, tensors=(*model.tensors, *tensors))


def _context(chosen: PlanOptions, model: Model) -> int:
    from tulu_cli.models.config import choose_context_length

    return choose_context_length(chosen.max_model_len, model.shape.positions)


def _conclude(streams: "Streams", judgements: Sequence[tuple[str, Judgement]]) -> None:
    """Warn of what fits tightly. Raise DoesNotFit if anything does not fit."""
    for name, judgement in judgements:
        if judgement.verdict is Verdict.TIGHT:
            streams.say(f"tulu: {name} fits only just, inside the uncertainty of the plan.")
    for name, judgement in judgements:
        if not judgement.fits:
            raise DoesNotFit(f"{name} does not fit: {judgement.reason}.")


def _rank_catalogue(chosen: PlanOptions, streams: "Streams", model: Model, rules: Rules) -> None:
    from tulu_cli.plan.gpus import CARDS

    run = _run_of(chosen, model, _replicas(chosen))
    fewest = (
        fewest_gpus(model, catalogue_gpu(card), run, rules, chosen.concurrency) for card in CARDS
    )
    plans = [plan_of(found, chosen.concurrency) for found in fewest if found is not None]
    plans.sort(key=lambda plan: (plan.estimate.run.layout.gpus, plan.estimate.gpu.total_bytes))
    if chosen.json_output:
        from tulu_cli.plan.report import report

        _print_json(streams, {"plans": [report(plan) for plan in plans]})
    elif plans:
        from tulu_cli.plan.text import plans_text

        streams.write(plans_text(plans))
    if not plans:
        raise DoesNotFit(
            f"{model.name} fits on no GPU of the catalogue: choose a shorter context, fewer "
            "requests at once or a --quantization."
        )


def _find(chosen: PlanOptions, found: Estimate) -> float | None:
    if chosen.find == "concurrency":
        return most_requests(found)
    if chosen.find == "utilization":
        return least_utilization(found, chosen.concurrency)
    return longest_context(found, chosen.concurrency)


def _print_found(
    chosen: PlanOptions, streams: "Streams", model: Model, value: float | None
) -> None:
    if not value:
        what = "number of GPUs" if chosen.find == "gpus" else chosen.find
        raise DoesNotFit(
            f"{model.name} fits with no {what} here: choose a larger GPU or a --quantization."
        )
    if chosen.json_output:
        _print_json(streams, {"find": chosen.find, "value": value})
    else:
        streams.write(f"{value}\n")


def _options(
    chosen: PlanOptions, model: Model, gpu: Gpu, count: int, rules: Rules
) -> list["Option"]:
    """Return what the layouts give on the machines, or the one that is fixed.

    The one with the most requests is the first.
    """
    from tulu_cli.plan.layouts import option_of, options

    nodes = chosen.machines
    sizes = chosen.tensor_parallel_size, chosen.pipeline_parallel_size, chosen.data_parallel_size
    if any(size is not None for size in sizes):
        layout = _choose_layout(chosen, model, count)
        found = estimate(model, gpu, _run_of(chosen, model, layout), rules)
        return [option_of(found, (layout.gpus // nodes, nodes))]
    return options(model, gpu, _run_of(chosen, model, _replicas(chosen)), rules, (count, nodes))


def _print_plans(
    chosen: PlanOptions,
    streams: "Streams",
    plans: Sequence[Plan],
    version: Version,
    count: int,
    options: Sequence["Option"],
) -> None:
    if chosen.json_output:
        from tulu_cli.plan.report import options_report, report

        head = _releases(version)
        if options:
            head |= {"nodes": chosen.machines, "layouts": options_report(options)}
        _print_json(streams, _one_or_all([head | report(plan) for plan in plans]))
        return
    from tulu_cli.plan import text

    if len(plans) > 1:
        streams.write(text.plans_text(plans, models=True))
        return
    (plan,) = plans
    if options and (said := text.options_text(options, (count, chosen.machines))):
        streams.write(f"{said}\n")
    streams.write(text.plan_text(plan, version, bars=streams.stdout_tty))
    if plan.judgement.fits:
        lines = text.ready_commands(
            plan.estimate,
            _name_for_engines(chosen),
            nodes=chosen.machines,
            quantization=chosen.quantization,
            dtype=chosen.dtype,
            adapters=chosen.adapters,
            draft=_name_of_draft(chosen),
        )
        streams.write("\n" + "".join(f"  {line}\n" for line in lines))
    else:
        streams.write("\n" + text.changes_text(plan.changes))
    if chosen.explain:
        lines = text.explanation(plan.estimate, version)
        streams.write("\n" + "".join(f"{line}\n" for line in lines))


def _releases(version: Version) -> dict[str, Any]:
    releases = {"vllm_version": version, "planned_as": min(version, NEWEST)}
    return {name: ".".join(map(str, release)) for name, release in releases.items()}


def _name_for_engines(chosen: PlanOptions) -> str:
    """Return what vLLM knows the model by, which knows none of our aliases."""
    from tulu_cli.models import resolve

    (name,) = chosen.models
    ref = resolve(name, chosen.aliases)
    return ref.repo or str(ref.path or name)


def _name_of_draft(chosen: PlanOptions) -> str | None:
    """Return what vLLM knows the draft model by, None where there is none."""
    from tulu_cli.models import resolve
    from tulu_cli.models.draft import NGRAM

    if chosen.draft is None or chosen.draft == NGRAM:
        return None
    ref = resolve(chosen.draft, chosen.aliases)
    return ref.repo or str(ref.path or chosen.draft)


def _one_or_all(reports: list[dict[str, Any]]) -> dict[str, Any]:
    return reports[0] if len(reports) == 1 else {"plans": reports}


def _print_json(streams: "Streams", document: dict[str, Any]) -> None:
    import json

    streams.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def _draw(plot: str, streams: "Streams", plans: Sequence[Plan]) -> None:
    from pathlib import Path

    from tulu_cli.plan.curve import curves

    found = plans[0].estimate
    series = {plan.estimate.model.name: concurrency_by_context(plan.estimate) for plan in plans}
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        raise DoesNotFit("There is nothing to draw: no context of 256 tokens or more fits.")
    svg = curves(
        drawn,
        title=f"Requests at once on {found.run.layout.gpus} x {found.gpu.name}",
        across="context length of each request (tokens)",
        up="requests at once",
    )
    path = Path(plot)
    with writing(path):
        path.write_text(svg, encoding="utf-8")
    streams.say(f"tulu: drew {path}")
