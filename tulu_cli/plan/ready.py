"""The command lines that start what was planned."""

from shlex import join

from tulu_cli.plan.vllm import Estimate

# What vLLM can do to a plain checkpoint while it loads it; anything else needs one made so.
_AT_LOAD = ("fp8", "bitsandbytes")


def ready_commands(
    plan: Estimate, model: str, *, nodes: int = 1, quantization: str | None = None
) -> tuple[str, ...]:
    """Lines for `tulu serve`, `vllm serve` and `tulu complete`; for several nodes Ray's first.

    `model` is what each of them is to be given: a repository or a path. `quantization` is the one
    that was asked for, beyond what the checkpoint has itself.
    """
    flags = _flags(plan)
    lines = []
    if quantization in _AT_LOAD:
        flags += ["--quantization", quantization]
    elif quantization is not None:
        lines.append(f"# with a checkpoint of the model that is quantized to {quantization}:")
    if nodes > 1:
        lines += [
            "pip install ray                               # on each node: vLLM does not bring it",
            "ray start --head --port=6379                  # on the first node",
            "ray start --address=FIRST_NODE:6379           # on each of the others",
        ]
    ray = ["--distributed-executor-backend", "ray"] if nodes > 1 else []
    own = _settings_of_vllm(plan)
    ours = [*flags, *_as_engine_arguments(own)]
    lines += [join(["tulu", "serve", model, *ours])] if nodes == 1 else []
    if plan.rules.gguf or not model.endswith(".gguf"):  # tulu unpacks such a file for vLLM
        lines += [join(["vllm", "serve", model, *flags, *_as_flags(own), *ray])]
    if nodes == 1:
        lines += [join(["tulu", "complete", "-m", model, "--engine", "vllm", *ours, "..."])]
    return tuple(lines)


def _flags(plan: Estimate) -> list[str]:
    run = plan.run
    flags = ["--max-model-len", str(run.max_model_len)]
    flags += ["--gpu-memory-utilization", f"{run.utilization:.4g}"]
    if run.layout.tensor > 1:
        flags += ["--tensor-parallel-size", str(run.layout.tensor)]
    if run.layout.pipeline > 1:
        flags += ["--pipeline-parallel-size", str(run.layout.pipeline)]
    return flags


def _settings_of_vllm(plan: Estimate) -> dict[str, str]:
    """What only vLLM has a setting for, by the names of its engine's arguments."""
    run = plan.run
    settings = {
        "kv_cache_dtype": run.kv_dtype if run.kv_dtype != "auto" else "",
        "max_num_seqs": str(run.max_num_seqs or ""),
        "max_num_batched_tokens": str(run.max_num_batched_tokens or ""),
        "enforce_eager": "true" if run.eager else "",
    }
    return {name: value for name, value in settings.items() if value}


def _as_flags(settings: dict[str, str]) -> list[str]:
    flags: list[str] = []
    for name, value in settings.items():
        flags += [f"--{name.replace('_', '-')}", *([] if value == "true" else [value])]
    return flags


def _as_engine_arguments(settings: dict[str, str]) -> list[str]:
    pairs = (f"{name}={value}" for name, value in settings.items())
    return [word for pair in pairs for word in ("--engine-arg", pair)]
