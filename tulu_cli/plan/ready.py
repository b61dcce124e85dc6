"""The command lines that start what was planned."""

from shlex import join

from tulu_cli.plan.vllm import Estimate


def ready_commands(plan: Estimate, model: str, nodes: int = 1) -> tuple[str, ...]:
    """Lines for `tulu serve`, `vllm serve` and `tulu complete`; for several nodes Ray's first.

    `model` is what each of them is to be given: a repository or a path.
    """
    flags = _flags(plan)
    lines = []
    if nodes > 1:
        lines += [
            "ray start --head --port=6379                  # on the first node",
            "ray start --address=FIRST_NODE:6379           # on each of the others",
        ]
    ray = ["--distributed-executor-backend", "ray"] if nodes > 1 else []
    lines += [join(["tulu", "serve", "-m", model, *flags])] if nodes == 1 else []
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
    if plan.model.quantization:
        flags += ["--quantization", plan.model.quantization]
    return flags


def _vllm_flags(plan: Estimate) -> list[str]:
    run = plan.run
    flags = ["--kv-cache-dtype", run.kv_dtype] if run.kv_dtype != "auto" else []
    if run.max_num_seqs:
        flags += ["--max-num-seqs", str(run.max_num_seqs)]
    if run.max_num_batched_tokens:
        flags += ["--max-num-batched-tokens", str(run.max_num_batched_tokens)]
    return [*flags, "--enforce-eager"] if run.eager else flags
