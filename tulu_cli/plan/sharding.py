"""The part of each tensor that a GPU holds, as vLLM divides a model."""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.tensors import Tensor
from tulu_cli.plan.values import ceil_div, round_up

# vllm/model_executor/layers/vocab_parallel_embedding.py: DEFAULT_VOCAB_PADDING_SIZE
_VOCABULARY_STEP = 64
_EXPERT = re.compile(r"experts\.\d+")
_ROUTED = ".experts."
_LAYER = re.compile(r"(?:\w+\.)*layers\.(\d{1,9})\.")
# How each linear layer is divided: by its output (columns of the product), by its input (rows), by
# heads of keys and values, which are copied where there are fewer than GPUs, or not at all.
_CUTS = {
    "q_proj": "column",
    "q_b_proj": "column",
    "kv_b_proj": "column",
    "k_proj": "kv",
    "v_proj": "kv",
    "qkv_proj": "qkv",
    "gate_proj": "column",
    "up_proj": "column",
    "gate_up_proj": "column",
    "w1": "column",
    "w3": "column",
    "o_proj": "row",
    "down_proj": "row",
    "w2": "row",
    "embed_tokens": "vocabulary",
    "lm_head": "vocabulary",
}
# Parts of a layer divided by rows that may have one value an output: every GPU needs all.
_PER_OUTPUT = ("bias", "SCB", "weight_scale", "weight_zero_point")
_FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up"}
_FUSED |= {"up_proj": "gate_up", "w1": "gate_up", "w3": "gate_up"}


# Models that make the embeddings and the head on every pipeline stage, used there or not. Source:
# that file in vllm/model_executor/models of v0.33.0, alike in v0.20.0.
_VOCABULARY_EVERYWHERE = {
    "Gemma2ForCausalLM",  # gemma2.py, whose head is tied
    "Gemma3ForCausalLM",  # gemma3.py
    "MixtralForCausalLM",  # mixtral.py
    "Qwen3MoeForCausalLM",  # qwen3_moe.py
}


class Layout(NamedTuple):
    """The GPUs that share each layer, and the pipeline stages that the layers are split over.

    `data` is the number of replicas, which answer other requests but share the experts;
    with `whole_experts` (expert parallel), each GPU holds some experts instead of a part of each.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    whole_experts: bool = False

    @property
    def gpus(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline * self.data


def check_layout(shape: Shape, layout: Layout) -> None:
    """Raise UsageError if vLLM refuses to divide the model so."""
    if layout.whole_experts and shape.experts is None:
        raise UsageError(
            "--enable-expert-parallel is for models with experts, and this one has none: leave it "
            "out."
        )
    if shape.heads % layout.tensor:
        raise UsageError(
            f"{layout.tensor} GPUs cannot share {shape.heads} attention heads evenly: choose a "
            "tensor parallel size that divides them."
        )
    heads = max(shape.kv_heads, layout.tensor), min(shape.kv_heads, layout.tensor)
    if heads[0] % heads[1]:
        raise UsageError(
            f"{layout.tensor} GPUs cannot share {shape.kv_heads} heads of keys and values evenly: "
            "choose a tensor parallel size that divides them or is a multiple of them."
        )
    if layout.pipeline > shape.layers:
        raise UsageError(
            f"{shape.layers} layers cannot be split over {layout.pipeline} pipeline stages: choose "
            "a smaller pipeline parallel size."
        )


def stages(layers: int, pipeline: int) -> tuple[range, ...]:
    """Return the layers of each stage. Source: vllm/distributed/utils.py, get_pp_indices.

    Layers that are left over go to the stages before the last, from the back.
    """
    counts = [layers // pipeline] * pipeline
    for place in range(2, layers % pipeline + 2):
        counts[-place] += 1
    ends = [sum(counts[: place + 1]) for place in range(pipeline)]
    return tuple(range(end - count, end) for end, count in zip(ends, counts, strict=True))


def rank_blocks(
    tensors: Iterable[Tensor], shape: Shape, layout: Layout, stage: int
) -> dict[str, int]:
    """Return the bytes of each block that one GPU of a stage allocates, by name, in order."""
    layers = stages(shape.layers, layout.pipeline)[stage]
    first, last = stage == 0, stage == layout.pipeline - 1
    everywhere = shape.architecture in _VOCABULARY_EVERYWHERE
    blocks: dict[str, int] = {}
    for tensor in tensors:
        layer = layer_of(tensor.name)
        if layer is not None:
            here = layer in layers
        elif "embed_tokens" in tensor.name:
            here = everywhere or first or (last and shape.tied)
        elif tensor.name.startswith("lm_head"):
            here = (everywhere or last) and not shape.tied
        else:
            here = last
        if here:
            key = _block_name(tensor.name)
            size = _expert_size if _ROUTED in tensor.name else _dense_size
            blocks[key] = blocks.get(key, 0) + size(tensor, shape, layout)
    return blocks


@cache
def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to, or None."""
    match = _LAYER.match(name)
    return int(match.group(1)) if match else None


def _dense_size(tensor: Tensor, shape: Shape, layout: Layout) -> int:
    return local_size(tensor, shape, layout.tensor)


def _expert_size(tensor: Tensor, shape: Shape, layout: Layout) -> int:
    """Return the bytes of a tensor of routed experts, which all replicas share.

    Source: flatten_tp_across_dp_and_pcp of vllm/model_executor/layers/fused_moe/config.py and
    expert_map_manager.py, where the first GPUs have the experts that are left over.
    """
    gpus = layout.tensor * layout.data
    if not layout.whole_experts or shape.experts is None:
        return local_size(tensor, shape, gpus)
    count = shape.experts.count
    return ceil_div(tensor.size * ceil_div(count, gpus), count)


def local_size(tensor: Tensor, shape: Shape, gpus: int) -> int:
    """Return the bytes of a tensor that each of `gpus` holds."""
    path, _, part = tensor.name.rpartition(".")
    cut = _CUTS.get(path.rpartition(".")[2], "whole")
    if cut == "whole" or tensor.shape == (1,) or _is_copied(cut, part, tensor.shape):
        return tensor.size
    if cut == "vocabulary":
        return _vocabulary(tensor, gpus)
    if cut == "kv":
        return ceil_div(tensor.size, min(gpus, shape.kv_heads))
    if cut == "qkv":
        return _fused_size(tensor.size, shape, gpus)
    return ceil_div(tensor.size, gpus)


def _is_copied(cut: str, part: str, dimensions: tuple[int, ...]) -> bool:
    """Return True if every GPU needs all of a part: its values are along a side not divided."""
    if part == "g_idx":  # one value an input
        return cut != "row"
    return cut == "row" and (len(dimensions) == 1 or dimensions[-1] == 1) and part in _PER_OUTPUT


def _vocabulary(tensor: Tensor, gpus: int) -> int:
    rows = tensor.shape[0]
    if not rows:
        return 0
    return round_up(rows, _VOCABULARY_STEP) * (tensor.size // rows) // gpus


def _fused_size(size: int, shape: Shape, gpus: int) -> int:
    """Return the bytes of fused queries, keys and values, of which keys may be copied."""
    heads = shape.heads + 2 * shape.kv_heads
    local = shape.heads // gpus + 2 * max(1, shape.kv_heads // gpus)
    return ceil_div(size * local, heads)


@cache
def _block_name(name: str) -> str:
    """Return the name of the allocation of a tensor: vLLM fuses some layers into one."""
    path, _, part = name.rpartition(".")
    parent, _, module = path.rpartition(".")
    if "experts." in parent:
        parent = _EXPERT.sub("experts", parent)
    return ".".join(filter(None, (parent, _FUSED.get(module, module), part)))
