"""The questions before gigabytes are fetched: can the model fit here at all, and how fast is it?

Only what certainly cannot fit is refused. What the planner does not know is never refused.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import NoEngine, TuluError
from tulu_cli.text import gib

if TYPE_CHECKING:
    from tulu_cli.engines.base import EngineSpec
    from tulu_cli.machine import Machine
    from tulu_cli.plan.vllm import Drafting, Estimate, Model

# vLLM's own defaults outside its server (vllm/config/scheduler.py).
_OUTSIDE_SERVER = {"max_num_seqs": 128, "max_num_batched_tokens": 2048}
# The arguments of vLLM that the plan understands; any other one may change what fits.
_UNDERSTOOD = {
    "kv_cache_dtype": "kv_dtype",
    "block_size": "block_size",
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "enforce_eager": "eager",
}
# What a change of the plan is called where a model is run.
_OPTIONS = {
    "--kv-cache-dtype": "--engine-arg kv_cache_dtype=",
    "--max-num-seqs": "--engine-arg max_num_seqs=",
    "--enforce-eager": "--engine-arg enforce_eager=true",
}


def refusal(
    spec: "EngineSpec", config: Mapping[str, Any], engine: str, machine: "Machine"
) -> str | None:
    """Return why `spec` cannot be loaded, with the nearest setting that fits, or None.

    `config` is the model's config.json, `engine` the name of the engine that is to load it. None
    says only that it may fit. Raise NoEngine for weights that vLLM loads only with a plug-in that
    is not installed.
    """
    if engine not in ("vllm", "transformers"):
        return None
    try:
        model = _model(spec, config, engine)
    except TuluError:
        return None
    if engine == "vllm":
        _check_plugin(model, machine)
    if not machine.gpus or not spec.device.startswith(("auto", "cuda")):
        return _beyond_memory(model, machine.memory_bytes)
    if engine == "vllm":
        return _beyond_gpus(spec, model, machine)
    return _beyond_free(spec, model, machine)


def prefill_bound(
    spec: "EngineSpec", config: Mapping[str, Any], engine: str, machine: "Machine"
) -> float | None:
    """Return how many prompt tokens a second these GPUs can read at most, None if unknown."""
    if engine != "vllm" or not machine.gpus or not spec.device.startswith(("auto", "cuda")):
        return None
    from tulu_cli.plan.speed import bounds

    try:
        found = _estimate(spec, _model(spec, config, engine), machine)
    except TuluError:
        return None
    return None if found is None else bounds(found).prefill


def _model(spec: "EngineSpec", config: Mapping[str, Any], engine: str) -> "Model":
    from tulu_cli.plan.read import model_of

    return model_of(
        spec.name, config, engine=engine, dtype=spec.dtype, quantization=spec.quantization
    )


def _check_plugin(model: "Model", machine: "Machine") -> None:
    from tulu_cli.plan.quantization import without_plugin
    from tulu_cli.plan.read import release

    packages = machine.packages
    if why := without_plugin(model.name, model.quantization, release(), packages):
        raise NoEngine(why)


def _beyond_memory(model: "Model", memory: int) -> str | None:
    """Without a GPU, refuse only what the whole memory of the machine cannot hold."""
    from tulu_cli.plan.weights import weight_bytes

    weights = weight_bytes(model)
    if not memory or weights <= memory:
        return None
    return (
        f"{model.name} does not fit: its weights are {gib(weights)}, and this machine has "
        f"{gib(memory)} of memory; choose a smaller model, or --force to try."
    )


def _beyond_free(spec: "EngineSpec", model: "Model", machine: "Machine") -> str | None:
    """Transformers spreads the weights over all GPUs, or uses the one that is named."""
    from tulu_cli.plan.weights import weight_bytes

    weights = weight_bytes(model)
    named = spec.device.partition(":")[2]
    free = sum(gpu.free_bytes for gpu in machine.gpus if not named or str(gpu.index) == named)
    if not free or weights <= free:
        return None
    return (
        f"{model.name} does not fit: its weights are {gib(weights)}, and {gib(free)} are free on "
        "the GPUs; choose a smaller model or --quantization bitsandbytes, or --force to try."
    )


def _beyond_gpus(spec: "EngineSpec", model: "Model", machine: "Machine") -> str | None:
    from tulu_cli.plan.search import plan_of

    try:
        found = _estimate(spec, model, machine)
    except TuluError:
        return None  # the engine says better what is wrong with a layout
    if found is None or (plan := plan_of(found)).judgement.fits:
        return None
    changes = plan.changes
    hint = f"{spelled(changes[0].option)} would fit" if changes else "no single change makes it fit"
    return f"{model.name} does not fit: {plan.judgement.reason}; {hint}, or --force to try."


def _estimate(spec: "EngineSpec", model: "Model", machine: "Machine") -> "Estimate | None":
    """Return the memory that vLLM will take, None where the plan does not know."""
    from tulu_cli.plan.adapters import slots_for
    from tulu_cli.plan.read import machine_gpus, release
    from tulu_cli.plan.sharding import Layout
    from tulu_cli.plan.versions import rules_of
    from tulu_cli.plan.vllm import Run, estimate

    values = _run_values(spec)
    if values is None:
        return None
    layout = Layout(spec.tensor_parallel_size, spec.pipeline_parallel_size)
    gpus = machine_gpus(machine)
    if layout.gpus > len(gpus):
        return None
    run = Run(
        max_model_len=spec.max_model_len,
        layout=layout,
        utilization=spec.gpu_memory_utilization,
        adapters=slots_for(spec.adapters),
        drafting=_drafting(spec, model),
        **values,
    )
    gpu = min(gpus[: layout.gpus], key=lambda gpu: gpu.free_bytes)
    # Kernels may be compiled already, and what may fit is not refused.
    rules = rules_of(release())._replace(compile_bytes=0, compile_left_bytes=0)
    return estimate(model, gpu, run, rules)


def _drafting(spec: "EngineSpec", model: "Model") -> "Drafting | None":
    """Return the draft as it is planned. Raise TuluError for one that the plan does not know."""
    from tulu_cli.disk import read_json
    from tulu_cli.plan.read import model_of
    from tulu_cli.plan.vllm import Drafting

    if spec.draft is None:
        return None
    directory = spec.draft.directory
    if directory is None:
        return Drafting(spec.draft.tokens)
    config = read_json(directory / "config.json")
    return Drafting(spec.draft.tokens, model_of(spec.draft.name, config, dtype=model.shape.dtype))


def _run_values(spec: "EngineSpec") -> dict[str, Any] | None:
    """Return vLLM's own arguments as values of a plan's run, None if one is not understood."""
    from tulu_cli.plan.shape import KV_DTYPE_BYTES

    values: dict[str, Any] = {} if spec.purpose == "server" else dict(_OUTSIDE_SERVER)
    values["eager"] = spec.purpose == "one-shot"
    for name, value in spec.engine_args.items():
        field = _UNDERSTOOD.get(name)
        known = {"kv_dtype": value in ("auto", *KV_DTYPE_BYTES), "eager": isinstance(value, bool)}
        is_count = isinstance(value, int) and value > 0
        if field is None or not known.get(field, is_count):
            return None
        values[field] = value
    return values


def spelled(option: str) -> str:
    """Return an option of `tulu plan` as it is written where a model is run."""
    name, _, value = option.partition(" ")
    here = _OPTIONS.get(name)
    return f"{here}{value}" if here else option
