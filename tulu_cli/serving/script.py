"""The script that --nodes and --replicas ask for, instead of a server."""

from collections.abc import Iterator

from tulu_cli.errors import UsageError
from tulu_cli.loading.adapters import chosen_adapters
from tulu_cli.loading.drafts import is_chosen
from tulu_cli.loading.engine_args import check_engine_args
from tulu_cli.machine import Machine
from tulu_cli.models import FAMILY, ModelRef, locate, resolve
from tulu_cli.models.config import ADVISED_CONTEXT, has_experts
from tulu_cli.plan.search import share_machines
from tulu_cli.serving.deployment import Deployment, deployment_script
from tulu_cli.serving.options import ServeOptions
from tulu_cli.settings import Settings

# What a node of an H100 or A100 cluster has.
GPUS_OF_A_NODE = 8


def check_script(chosen: ServeOptions) -> None:
    """Raise UsageError for what a printed script would leave out."""
    flag, settings = chosen.printing, chosen.load.settings
    given = {
        "--detach": chosen.detach,
        "--host": chosen.host is not None,
        "--keep-alive": settings.is_flag("keep_alive"),
        "--device": settings.is_flag("device"),
    }
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(f"{flag} prints a script and starts nothing: leave {option} out.")
    engine = settings.get("engine")
    if settings.is_flag("engine") and engine not in ("auto", "vllm"):
        raise UsageError(f"{flag} is for vLLM's server: {engine} runs on one machine, as one.")
    own = f"to the command that {flag} prints"
    if chosen_adapters(settings).get("adapter"):
        raise _for_one_engine(settings, "adapter", f"--enable-lora and --lora-modules {own}")
    if is_chosen(settings):
        raise _for_one_engine(settings, "draft", f"--speculative-config {own}")
    if chosen.load.deterministic:
        raise UsageError(
            "--deterministic is for one engine: for several, set VLLM_BATCH_INVARIANT=1 on each "
            "machine, and give --engine-arg enable_prefix_caching=false."
        )
    check_engine_args(chosen.load.engine_args, "script")


def left_out(chosen: ServeOptions) -> Iterator[str]:
    """Yield which settings of this machine a printed script does not have, in a sentence each."""
    settings = chosen.load.settings
    told = {"engine": ("auto", "vllm"), "device": ("auto",)}
    for name, usual in told.items():
        if (value := settings.get(name, "auto")) not in usual:
            yield (
                f"{name} = {value} ({settings.values[name].origin}) is left out: "
                f"{chosen.printing} prints a script for vLLM on its machines' own devices."
            )


def script_of(chosen: ServeOptions, machine: Machine) -> str:
    """Return the script for several machines or replicas; this loads nothing, needs no engine."""
    settings = chosen.load.settings
    usual = "8b" if chosen.nodes is None else "405b"
    ref = resolve(settings.get("model", usual), settings.aliases)
    passed = ("dtype", "quantization", "gpu_memory_utilization")
    arguments = {name: settings.get(name) for name in passed} | {
        "max_model_len": settings.get("max_model_len", ADVISED_CONTEXT),
        "revision": ref.revision,
        "trust_remote_code": True if chosen.load.trust_remote_code else None,
    }
    machines = chosen.nodes or 1
    layout = share_machines(
        (len(machine.gpus) or GPUS_OF_A_NODE, machines),
        chosen.replicas or 1,
        tensor=settings.get("tensor_parallel_size"),
        pipeline=settings.get("pipeline_parallel_size"),
    )
    shares_experts = chosen.replicas is not None and _has_experts(ref, offline=chosen.load.offline)
    return deployment_script(
        str(ref.repo or ref.path or ref.name),
        arguments | dict(chosen.load.engine_args),
        Deployment(machines, layout, shares_experts),
        chosen.port,
        chosen.ray,
    )


def _for_one_engine(settings: Settings, name: str, added: str) -> UsageError:
    """Make the refusal of a setting, by a flag or not, that a script does not have."""
    if settings.is_flag(name):
        return UsageError(f"--{name} is for one engine: for several, add vLLM's own {added}.")
    return UsageError(
        f"{name} ({settings.values[name].origin}) is for one engine: for several, give --{name} "
        f"none, and add vLLM's own {added}."
    )


def _has_experts(ref: ModelRef, *, offline: bool) -> bool:
    """Return whether a model has experts, by its config. Raise what `locate` raises."""
    if ref.repo in {row.repository for row in FAMILY}:
        return False  # no file is needed for these
    return has_experts(locate(ref, offline=offline, weights=False).config)
