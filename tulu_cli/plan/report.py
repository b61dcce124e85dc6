"""A plan as plain data, with every number that led to it: what `--json` prints."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from tulu_cli.plan.compare import Comparison
from tulu_cli.plan.kv import Cache
from tulu_cli.plan.layouts import Option, link_rate
from tulu_cli.plan.search import Plan
from tulu_cli.plan.transformers import Share, TransformersPlan
from tulu_cli.plan.values import Judgement, Range
from tulu_cli.plan.vllm import Estimate, Rank


def report(plan: Plan) -> dict[str, Any]:
    """Return all numbers of a plan for vLLM; memory is in bytes."""
    found = plan.estimate
    run = found.run
    return {
        **_head(found.model.name, "vllm", plan.judgement),
        "gpu": _gpu(found),
        "gpus": run.layout.gpus,
        "tensor_parallel_size": run.layout.tensor,
        "pipeline_parallel_size": run.layout.pipeline,
        "data_parallel_size": run.layout.data,
        "expert_parallel": run.layout.whole_experts,
        "max_model_len": run.max_model_len,
        "concurrency": plan.concurrency,
        "gpu_memory_utilization": run.utilization,
        "max_num_seqs": found.sequences,
        "max_num_batched_tokens": found.batched,
        **_draft(found),
        "requested_bytes": found.requested,
        "ranks": [_rank(rank) for rank in found.ranks],
        "kv_cache": {
            "dtype": found.kv_dtype,
            "layer_token_bytes": found.caches[0].token_bytes,
            "caches": [_cache(cache) for cache in found.caches],
            "blocks": asdict(found.blocks),
            "tokens": _each(found.blocks, found.tokens),
            "request_blocks": found.request_blocks,
            "maximum_concurrency": _each(found.blocks, found.concurrency),
            "tokens_with_warm_compile_cache": found.tokens(found.warm_blocks),
        },
        "images": _images(found),
        "longest_context": plan.longest_context,
        "most_requests": plan.most_requests,
        "speed_upper_bounds": plan.speed._asdict(),
        "changes": [change._asdict() for change in plan.changes],
        "rules": found.rules._asdict(),
    }


def options_report(found: Sequence[Option]) -> list[dict[str, Any]]:
    """Return the layouts as plain data for `--json`; rates are in bytes a second."""
    return [
        {
            "tensor_parallel_size": one.layout.tensor,
            "pipeline_parallel_size": one.layout.pipeline,
            "data_parallel_size": one.layout.data,
            "verdict": str(one.judgement.verdict),
            "most_requests": one.requests,
            "speed_upper_bounds": one.speed._asdict(),
            "traffic": one.traffic and one.traffic._asdict(),
            "link_gb_per_second": link_rate(one.estimate.gpu.card),
        }
        for one in found
    ]


def comparison_report(found: Comparison) -> dict[str, Any]:
    """Return the figures of a log and of the plan beside it; memory is in bytes."""
    return {
        "ended": found.ended,
        "agrees": found.agrees,
        "figures": [
            {
                "name": row.name,
                "log": row.logged,
                "plan": row.planned,
                "difference": row.difference,
                "in_bytes": row.is_memory,
            }
            for row in found.rows
        ],
        "reasons": found.reasons,
        "plan": report(found.plan),
    }


def transformers_report(plan: TransformersPlan) -> dict[str, Any]:
    """Return all numbers of a plan for transformers; memory is in bytes."""
    return {
        **_head(plan.model.name, "transformers", plan.judgement),
        "generation": asdict(plan.generation),
        "weights_bytes": plan.weights,
        "cache_bytes": plan.cache,
        "activation_bytes": asdict(plan.activation),
        "context_bytes": asdict(plan.context),
        "total_bytes": asdict(plan.total),
        "gpus": [_share(share) for share in plan.shares],
        "offloaded_bytes": plan.offloaded,
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "name": share.gpu.name,
        "free_bytes": share.gpu.free_bytes,
        "weights_bytes": share.weights,
        "cache_bytes": share.cache,
        "total_bytes": asdict(share.total),
    }


def _head(name: str, engine: str, judgement: Judgement) -> dict[str, Any]:
    return {
        "model": name,
        "engine": engine,
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
    }


def _gpu(found: Estimate) -> dict[str, Any]:
    gpu = found.gpu
    return {"name": gpu.name, "total_bytes": gpu.total_bytes, "free_bytes": gpu.free_bytes}


def _images(found: Estimate) -> dict[str, Any] | None:
    """Return what an image takes, None for a model without them or whose images are not known."""
    sight = found.model.shape.sight
    if sight is None:
        return None
    profiled = found.images._asdict() if found.images else None
    return {"most_tokens": sight.most, "profiled": profiled}


def _draft(found: Estimate) -> dict[str, Any]:
    drafting = found.run.drafting
    if drafting is None:
        return {}
    model = drafting.model
    return {"draft": {"model": model.name if model else None, "tokens": drafting.tokens}}


def _rank(rank: Rank) -> dict[str, Any]:
    parts = rank._asdict()
    for name in ("adapters", "draft"):
        if not parts[name]:
            del parts[name]
    return {name: asdict(part) if isinstance(part, Range) else part for name, part in parts.items()}


def _cache(cache: Cache) -> dict[str, Any]:
    return {
        "block_size": cache.block_size,
        "block_bytes": cache.block_bytes,
        "state_bytes": cache.state_bytes,
        "groups": [group._asdict() for group in cache.groups],
    }


def _each(blocks: Range, of: Callable[[int], float]) -> dict[str, float]:
    return {"low": of(blocks.low), "expected": of(blocks.expected), "high": of(blocks.high)}
