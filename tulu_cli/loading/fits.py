"""Whether a model that is about to be loaded can fit at all: asked before gigabytes are fetched.

Only what surely cannot fit is refused. What the planner does not know never stands in the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import NoEngine, TuluError
from tulu_cli.text import gib

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.plan.vllm import Estimate, Model

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
    "--eager": "--engine-arg enforce_eager=true",
}


@dataclass(frozen=True)
class Wish:
    """What is about to be loaded, with an engine's settings as the user gave them.

    `as_server`: vLLM takes the limits of its server, where nobody set them.
    """

    name: str
    config: Mapping[str, Any]
    engine: str
    max_model_len: int
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    gpu_memory_utilization: float | None = None
    device: str = "auto"
    eager: bool = True
    as_server: bool = False
    engine_args: Mapping[str, Any] = field(default_factory=dict)


def refusal(wish: Wish, machine: "Machine") -> str | None:
    """Why the model surely cannot be loaded here, with the nearest setting that fits, or None.

    Raises NoEngine for weights that vLLM loads with a plug-in only, where that is not installed.
    """
    if wish.engine not in ("vllm", "transformers"):
        return None
    try:
        model = _model(wish)
    except TuluError:
        return None
    if wish.engine == "vllm":
        _check_plugin(model, machine)
    if not machine.gpus or not wish.device.startswith(("auto", "cuda")):
        return _beyond_memory(model, machine.memory_bytes)
    if wish.engine == "vllm":
        return _beyond_gpus(wish, model, machine)
    return _beyond_free(wish, model, machine)


def _model(wish: Wish) -> "Model":
    from tulu_cli.plan.read import model_of

    return model_of(
        wish.name,
        wish.config,
        engine=wish.engine,
        dtype=wish.dtype,
        quantization=wish.quantization,
    )


def _check_plugin(model: "Model", machine: "Machine") -> None:
    from tulu_cli.plan.quantization import without_plugin
    from tulu_cli.plan.read import release

    packages = machine.packages
    if why := without_plugin(model.name, model.quantization, release(), packages):
        raise NoEngine(why)


def _beyond_memory(model: "Model", memory: int) -> str | None:
    """Without a GPU only what the whole memory of the machine could not hold is refused."""
    from tulu_cli.plan.transformers import weight_bytes

    weights = weight_bytes(model)
    if not memory or weights <= memory:
        return None
    return (
        f"{model.name} does not fit: its weights are {gib(weights)}, and this machine has "
        f"{gib(memory)} of memory; choose a smaller model, or --force to try."
    )


def _beyond_free(wish: Wish, model: "Model", machine: "Machine") -> str | None:
    """Spread over all GPUs, as transformers does it, or on the one that is named."""
    from tulu_cli.plan.transformers import weight_bytes

    weights = weight_bytes(model)
    named = wish.device.partition(":")[2]
    free = sum(gpu.free_bytes for gpu in machine.gpus if not named or str(gpu.index) == named)
    if not free or weights <= free:
        return None
    return (
        f"{model.name} does not fit: its weights are {gib(weights)}, and {gib(free)} are free on "
        "the GPUs; choose a smaller model or --quantization bitsandbytes, or --force to try."
    )


def _beyond_gpus(wish: Wish, model: "Model", machine: "Machine") -> str | None:
    from tulu_cli.plan.changes import nearest_changes
    from tulu_cli.plan.verdict import judge

    try:
        plan = _plan(wish, model, machine)
    except TuluError:
        return None  # the engine says better what is wrong with a layout
    if plan is None or (judgement := judge(plan)).fits:
        return None
    changes = nearest_changes(plan)
    hint = f"{spelled(changes[0].option)} would fit" if changes else "no single change makes it fit"
    return f"{model.name} does not fit: {judgement.reason}; {hint}, or --force to try."


def _plan(wish: Wish, model: "Model", machine: "Machine") -> "Estimate | None":
    from tulu_cli.plan.read import machine_gpus, release
    from tulu_cli.plan.sharding import Layout
    from tulu_cli.plan.versions import rules_of
    from tulu_cli.plan.vllm import Run, estimate

    if set(wish.engine_args) - set(_UNDERSTOOD):
        return None
    layout = Layout(wish.tensor_parallel_size, wish.pipeline_parallel_size)
    gpus = machine_gpus(machine)
    if layout.gpus > len(gpus):
        return None
    values: dict[str, Any] = {"eager": wish.eager} | ({} if wish.as_server else _OUTSIDE_SERVER)
    values |= {_UNDERSTOOD[name]: value for name, value in wish.engine_args.items()}
    run = Run(
        max_model_len=wish.max_model_len,
        layout=layout,
        utilization=wish.gpu_memory_utilization,
        **values,
    )
    gpu = min(gpus[: layout.gpus], key=lambda gpu: gpu.free_bytes)
    return estimate(model, gpu, run, rules_of(release()))


def spelled(option: str) -> str:
    """An option of `tulu plan` as it is written where a model is run."""
    name, _, value = option.partition(" ")
    here = _OPTIONS.get(name)
    return f"{here}{value}" if here else option
