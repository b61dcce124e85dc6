"""The GPU that holds each part of a model, as device_map="auto" of transformers divides it.

Source: integrations/accelerate.py of transformers 5.19, get_balanced_memory and
infer_auto_device_map. Layers are never split. Each GPU but the last gets an even share of the
weights and some room, and the first keeps room for the largest part that may come back to it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tulu_cli.plan.sharding import layer_of

if TYPE_CHECKING:
    from tulu_cli.plan.vllm import Model

_BESIDE_THE_SHARE = 1.25  # of the largest part


class Part(NamedTuple):
    """A part of a model that is never split: a layer, or what stands alone, by its module."""

    layer: int | None
    name: str
    size: int


def parts_of(model: "Model") -> tuple[Part, ...]:
    """Return the parts of a model in their order; tied weights are one."""
    sizes: dict[tuple[int | None, str], int] = {}
    for tensor in model.tensors:
        if model.shape.tied and tensor.name.startswith("lm_head"):
            continue
        layer = layer_of(tensor.name)
        name = "" if layer is not None else tensor.name.rpartition(".")[0]
        sizes[layer, name] = sizes.get((layer, name), 0) + tensor.size
    return tuple(Part(layer, name, size) for (layer, name), size in sizes.items())


def placed(parts: Sequence[Part], free: Sequence[int]) -> list[int]:
    """Return the number of the GPU of each part, by the bytes that are `free` on each.

    What fits on none has the number after the last: the machine's memory.
    """
    largest = max((part.size for part in parts), default=0)
    share = sum(part.size for part in parts) // len(free) + int(_BESIDE_THE_SHARE * largest)
    room = [min(share, size) for size in free[:-1]] + [free[-1]]
    kept, used, gpu = [part.size for part in parts], 0, 0
    found = []
    for index, part in enumerate(parts):
        while gpu < len(room) and used + part.size > room[gpu] - _reserve(kept, index, gpu):
            gpu, used = gpu + 1, 0
        used += part.size
        found.append(gpu)
    return found


def _reserve(sizes: Sequence[int], index: int, gpu: int) -> int:
    """Return the bytes that a GPU keeps free: the first one those of the largest part to come."""
    if gpu:
        return 0
    largest = max(sizes)
    return largest if largest in sizes[index + 1 :] else max(sizes[index + 1 :], default=0)
