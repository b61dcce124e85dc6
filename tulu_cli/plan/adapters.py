"""The memory of adapters (LoRA): the slots that vLLM allocates, and what transformers loads.

A layer of `inner` inputs and `outer` outputs takes rank x (inner + outer) numbers of an adapter.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import FUSED, Layout, cut_of, layer_of, local_size, stages
from tulu_cli.plan.tensors import Tensor

if TYPE_CHECKING:
    from tulu_cli.models.adapter import Adapter


class Slots(NamedTuple):
    """What vLLM allocates: a number of slots, each for an adapter of `rank` on all `targets`.

    `targets` are the last names of layers, such as q_proj.
    """

    number: int
    rank: int
    targets: tuple[str, ...]


def slots_for(adapters: Sequence["Adapter"]) -> Slots | None:
    """Return the slots that vLLM is told to have, one for each; None without adapters.

    Raise UsageError for a rank that vLLM does not take.
    """
    if not adapters:
        return None
    from tulu_cli.models.adapter import all_targets, slot_rank

    return Slots(len(adapters), slot_rank(adapters), all_targets(adapters))


def slot_blocks(
    slots: Slots, tensors: Iterable[Tensor], shape: Shape, layout: Layout, stage: int
) -> Iterator[int]:
    """Yield the bytes of each tensor of the slots on a GPU of a stage.

    `tensors` are those of the model when it is not quantized. The slots are there from the start,
    whether or not an adapter is. A layer that vLLM fuses with others has slots for all of them. The
    halves A are whole on each GPU, and the halves B divided, of layers that are divided by their
    outputs, and the other way round of those by their inputs.
    Source: create_lora_weights in vllm/lora/layers/base_linear.py, column_parallel_linear.py,
    vocab_parallel_embedding.py and logits_processor.py of 0.32.
    """
    wanted = {_fused(name) for name in slots.targets}
    if shape.tied and "lm_head" in wanted:
        tensors = (*tensors, Tensor("lm_head.weight", (shape.vocabulary, shape.hidden), 0))
    layers = stages(shape.layers, layout.pipeline)[stage]
    for tensor in tensors:
        module = tensor.name.rpartition(".")[0].rpartition(".")[2]
        if _fused(module) not in wanted or not _is_matrix(tensor):
            continue
        layer = layer_of(tensor.name)
        is_last = stage == layout.pipeline - 1
        here = layer in layers if layer is not None else is_last or "embed" in module
        if here:
            inner, outer = _local_sides(tensor, module, shape, layout)
            count = slots.number * tensor.shape[0] if len(tensor.shape) == 3 else slots.number
            yield count * slots.rank * inner * shape.dtype_bytes
            yield count * slots.rank * outer * shape.dtype_bytes


def adapter_tensors(adapter: "Adapter", bits: int) -> Iterator[Tensor]:
    """Yield the tensors of an adapter as transformers loads them, beside the layers they are of.

    They are in the data type of the model, with `bits` a number, whatever that of the file is.
    """
    for name, (inner, outer) in adapter.shapes.items():
        yield Tensor(f"{name}.lora_A.weight", (adapter.rank, inner), bits)
        yield Tensor(f"{name}.lora_B.weight", (outer, adapter.rank), bits)


def _fused(module: str) -> str:
    return FUSED.get(module, module)


def _is_matrix(tensor: Tensor) -> bool:
    return len(tensor.shape) in (2, 3) and tensor.name.endswith(".weight")


def _local_sides(tensor: Tensor, module: str, shape: Shape, layout: Layout) -> tuple[int, int]:
    """Return the inputs and outputs of a layer that the slots on one GPU have."""
    outer, inner = tensor.shape[-2:]
    cut = cut_of(module)
    if cut == "vocabulary":  # rows are tokens: the slots of these two are not divided
        return inner, outer
    whole = Tensor(tensor.name, (outer, inner), 8)  # a byte a number
    local = local_size(whole, shape, layout.tensor)
    return (local // outer, outer) if cut == "row" else (inner, local // inner)
