"""The memory of a draft model on vLLM: its weights, and its layers in the cache of the model.

Source: vllm/config/speculative.py and vllm/v1/spec_decode/draft_model.py of 0.32: the draft is cut
over as many GPUs as the model (create_draft_parallel_config, _raise_if_draft_tp_mismatch), in the
model's data type, and has an embedding and a head of its own (_maybe_share_embeddings). Its layers
are in one group with those of the model, so that a block holds its tokens in the layers of both
(UniformTypeKVCacheSpecs in vllm/v1/kv_cache_interface.py). All this is alike in 0.30, 0.31 and
0.33, there in vllm/v1/worker/gpu/spec_decode/standalone_ar/speculator.py. N-grams take no memory.
"""

from tulu_cli.errors import UsageError
from tulu_cli.plan.shape import Keys, Shape, State
from tulu_cli.plan.sharding import Layout, check_layout


def check_target(name: str, shape: Shape) -> None:
    """Raise UsageError for a model whose memory beside any draft is not known."""
    if _has_states(shape):
        raise UsageError(
            f"{name} has recurrent layers, whose memory with a draft is not known: leave --draft "
            "out."
        )


def check_draft(name: str, shape: Shape, draft: str, drafting: Shape, layout: Layout) -> None:
    """Raise UsageError for a draft model that vLLM refuses, or that no plan counts.

    `name` and `shape` are those of the model, `draft` and `drafting` those of the draft.
    """
    if layout.pipeline > 1:
        raise UsageError(
            f"A draft model cannot be divided among {layout.pipeline} pipeline stages: choose "
            "other GPUs, or --draft ngram."
        )
    if not drafting.known:
        raise UsageError(
            f"Only the weights of {draft} are known: name another draft model, or --draft ngram."
        )
    if drafting.vocabulary != shape.vocabulary:
        raise UsageError(
            f"{draft} cannot draft for {name}: it has {drafting.vocabulary:,} tokens, and {name} "
            f"has {shape.vocabulary:,}. Name another, or give --draft ngram."
        )
    refuse_kinds(draft, drafting)
    if _has_windows(shape):
        raise UsageError(
            f"{name} has layers with a window, whose memory beside a draft model is not known: "
            "give --draft ngram."
        )
    check_layout(drafting, layout)


def refuse_kinds(name: str, shape: Shape) -> None:
    """Raise UsageError for a draft model whose layers do not all keep every token."""
    if _has_states(shape):
        raise UsageError(f"{name} has recurrent layers, with which vLLM does not draft.")
    if _has_windows(shape):
        raise UsageError(f"{name} has layers with a window, with which vLLM does not draft.")


def _has_states(shape: Shape) -> bool:
    return any(isinstance(one, State) for layer in shape.decoder for one in layer.kept)


def _has_windows(shape: Shape) -> bool:
    kept = [one for layer in shape.decoder for one in layer.kept]
    return any(isinstance(one, Keys) and (one.window or one.chunk) for one in kept)
