"""A plan as plain data, with every number that led to it: what `--json` prints."""

from dataclasses import asdict
from typing import Any

from tulu_cli.plan.changes import nearest_changes
from tulu_cli.plan.kv import kv_dtype, token_bytes
from tulu_cli.plan.search import longest_context, most_requests
from tulu_cli.plan.speed import bounds
from tulu_cli.plan.transformers import TransformersPlan
from tulu_cli.plan.values import Range
from tulu_cli.plan.verdict import Judgement, judge
from tulu_cli.plan.vllm import Estimate


def report(plan: Estimate, concurrency: int) -> dict[str, Any]:
    """All numbers of a plan for vLLM; memory is in bytes."""
    judgement = judge(plan, concurrency)
    shape, run = plan.model.shape, plan.run
    changes = () if judgement.fits else nearest_changes(plan, concurrency)
    return {
        **_head(plan.model.name, "vllm", judgement),
        "gpu": _gpu(plan),
        "gpus": run.layout.gpus,
        "tensor_parallel_size": run.layout.tensor,
        "pipeline_parallel_size": run.layout.pipeline,
        "max_model_len": run.max_model_len,
        "concurrency": concurrency,
        "gpu_memory_utilization": run.utilization,
        "max_num_seqs": plan.sequences,
        "max_num_batched_tokens": plan.batched,
        "requested_bytes": plan.requested,
        "ranks": [asdict(rank) for rank in plan.ranks],
        "kv_cache": {
            "dtype": kv_dtype(shape, run.kv_dtype),
            "layer_token_bytes": token_bytes(
                shape, run.layout.tensor, kv_dtype(shape, run.kv_dtype)
            ),
            "caches": [asdict(cache) for cache in plan.caches],
            "blocks": asdict(plan.blocks),
            "tokens": _each(plan.blocks, plan.tokens),
            "request_blocks": plan.request_blocks,
            "maximum_concurrency": _each(plan.blocks, plan.concurrency),
        },
        "longest_context": longest_context(plan, concurrency),
        "most_requests": most_requests(plan),
        "speed_upper_bounds": asdict(bounds(plan, concurrency)),
        "changes": [asdict(change) for change in changes],
        "rules": asdict(plan.rules),
    }


def transformers_report(plan: TransformersPlan) -> dict[str, Any]:
    """All numbers of a plan for transformers."""
    return {
        **_head(plan.model.name, "transformers", plan.judgement),
        "generation": asdict(plan.generation),
        "weights_bytes": plan.weights,
        "cache_bytes": plan.cache,
        "activation_bytes": asdict(plan.activation),
        "context_bytes": asdict(plan.context),
        "total_bytes": asdict(plan.total),
    }


def _head(name: str, engine: str, judgement: Judgement) -> dict[str, Any]:
    return {
        "model": name,
        "engine": engine,
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
    }


def _gpu(plan: Estimate) -> dict[str, Any]:
    gpu = plan.gpu
    return {"name": gpu.name, "total_bytes": gpu.total_bytes, "free_bytes": gpu.free_bytes}


def _each(blocks: Range, of: Any) -> dict[str, Any]:
    return {"low": of(blocks.low), "expected": of(blocks.expected), "high": of(blocks.high)}
