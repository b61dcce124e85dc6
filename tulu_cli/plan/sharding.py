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
# Modules beside the language model, whose own layers are none of its: encoders, and heads that
# predict several tokens, which are loaded only as a draft.
_BESIDE = re.compile(
    r"(?:model\.)?(?:vision_tower|vision_model|visual|audio_tower|multi_modal_projector|connector"
    r"|image_newline|embed_vision|embed_audio|mtp)\b"
)
# Numbers of a layer that has one for each head, divided as the heads are.
_BY_HEAD = ("sinks", "A_log", "D", "dt_bias")
# Experts in 4-bit floats are padded to what their kernels take: rows and columns of hidden sizes
# and widths. These are Marlin's steps, the largest: oracle/mxfp4.py of vLLM 0.33, and alike in
# mxfp4.py of 0.10.1. Some kernels for Hopper pad less.
_HIDDEN_STEP, _WIDTH_STEP, _SCALED = 256, 128, 32
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
    "in_proj": "column",
    "in_proj_qkvz": "column",
    "in_proj_ba": "column",
    "in_proj_qkv": "column",
    "in_proj_z": "column",
    "in_proj_a": "column",
    "in_proj_b": "column",
    "f_b_proj": "column",
    "g_b_proj": "column",
    "g_proj": "column",
    "b_proj": "column",
    "a_proj": "column",
    "conv1d": "column",
    "conv": "column",
    "x_proj": "row",
    "out_proj": "row",
    "qkv": "column",
    "fc1": "column",
    "linear_fc1": "column",
    "fc2": "row",
    "linear_fc2": "row",
    "input_linear": "column",
    "output_linear": "row",
    "query_key_value": "qkv",
    "dense": "row",
    "dense_h_to_4h": "column",
    "dense_4h_to_h": "row",
    "c_fc": "column",
    "c_proj": "row",
    "embed_tokens": "vocabulary",
    "embed_tokens_per_layer": "vocabulary",
    "lm_head": "vocabulary",
}
# Parts of a layer divided by rows that may have one value an output: every GPU needs all.
_PER_OUTPUT = ("bias", "SCB", "weight_scale", "weight_zero_point")
# The layers that vLLM makes one of.
FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up"}
FUSED |= {"up_proj": "gate_up", "w1": "gate_up", "w3": "gate_up"}


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


def spread(replicas: int, machines: int) -> tuple[int, int]:
    """Return how many machines each replica spans, and how many replicas each machine has.

    One of the two is 1. Raise UsageError where they cannot share the machines evenly.
    """
    if machines % replicas and replicas % machines:
        raise UsageError(
            f"--replicas {replicas} cannot share {machines} machines evenly: choose a multiple of "
            f"{machines}, or a number that divides it."
        )
    return max(1, machines // replicas), max(1, replicas // machines)


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
    blocks: dict[str, int] = {}
    for tensor in tensors:
        layer = layer_of(tensor.name)
        if layer is not None:
            here = layer in layers
        elif _BESIDE.match(tensor.name):
            here = first  # with the second model runner, only the first stage has an encoder
        elif "embed_tokens" in tensor.name:
            here = first or shape.whole_vocabulary or (last and shape.tied)
        elif tensor.name.startswith("lm_head"):
            here = (shape.whole_vocabulary or last) and not shape.tied
        else:
            here = last
        if here:
            key = _block_name(tensor.name)
            size = _expert_size if _ROUTED in tensor.name else _dense_size
            blocks[key] = blocks.get(key, 0) + size(tensor, shape, layout)
    return blocks


@cache
def layer_of(name: str) -> int | None:
    """Return the number of the language model's layer that a tensor belongs to, or None."""
    match = None if _BESIDE.match(name) else _LAYER.match(name)
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


def cut_of(module: str) -> str:
    """Return how a layer of that name is divided: column, row, kv, qkv, vocabulary or whole."""
    return _CUTS.get(module, "whole")


def local_size(tensor: Tensor, shape: Shape, gpus: int) -> int:
    """Return the bytes of a tensor that each of `gpus` holds."""
    path, _, part = tensor.name.rpartition(".")
    cut = cut_of(path.rpartition(".")[2])
    if part in _BY_HEAD and tensor.shape[0] % gpus == 0:
        return ceil_div(tensor.size, gpus)
    if part in ("mxfp4_blocks", "mxfp4_scales") and cut in ("column", "row"):
        return _padded_experts(tensor, gpus, cut=cut, unit=1 if part == "mxfp4_blocks" else _SCALED)
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


def _padded_experts(tensor: Tensor, gpus: int, *, cut: str, unit: int) -> int:
    """Return the bytes of stacked experts, `unit` numbers an element of a row."""
    count, rows, columns = tensor.shape
    if cut == "column":  # rows are gates and ups, columns the hidden size
        rows = round_up(ceil_div(rows, gpus), 2 * _WIDTH_STEP)
        columns = round_up(columns, _HIDDEN_STEP // unit)
    else:
        rows = round_up(rows, _HIDDEN_STEP)
        columns = round_up(ceil_div(columns, gpus), _WIDTH_STEP // unit)
    return ceil_div(count * rows * columns * tensor.bits, 8)


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
    return ".".join(filter(None, (parent, FUSED.get(module, module), part)))
