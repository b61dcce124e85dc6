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
            "ray start --head --port=6379                  # on the first node",
            "ray start --address=FIRST_NODE:6379           # on each of the others",
        ]
    ray = ["--distributed-executor-backend", "ray"] if nodes > 1 else []
    lines += [join(["tulu", "serve", model, *flags])] if nodes == 1 else []
    lines += [join(["vllm", "serve", model, *flags, *_vllm_flags(plan), *ray])]
    if nodes == 1:
        lines += [join(["tulu", "complete", "-m", model, "--engine", "vllm", *flags, "..."])]
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


def _vllm_flags(plan: Estimate) -> list[str]:
    run = plan.run
    flags = ["--kv-cache-dtype", run.kv_dtype] if run.kv_dtype != "auto" else []
    if run.max_num_seqs:
        flags += ["--max-num-seqs", str(run.max_num_seqs)]
    if run.max_num_batched_tokens:
        flags += ["--max-num-batched-tokens", str(run.max_num_batched_tokens)]
    return [*flags, "--enforce-eager"] if run.eager else flags
