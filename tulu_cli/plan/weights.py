"""The weights alone: how many bytes they are, and where they fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tulu_cli.plan.vllm import Model


@dataclass(frozen=True)
class WeightsFit:
    """Where weights fit: on a number of GPUs, in the machine's memory, or nowhere."""

    place: Literal["gpu", "memory", "nowhere"]
    gpus: int = 0


def weights_fit(total: int, gpus_free: Sequence[int], memory_free: int) -> WeightsFit:
    """Return the least that holds `total`; all sizes are in bytes.

    GPUs share the weights evenly, in a number that is a power of two, as tensor parallelism does.
    The KV cache and the activations need more, which a plan counts.
    """
    by_size = sorted(gpus_free, reverse=True)
    count = 1
    while count <= len(by_size):
        if by_size[count - 1] * count >= total:
            return WeightsFit("gpu", count)
        count *= 2
    return WeightsFit("memory" if total <= memory_free else "nowhere")


def weight_bytes(model: "Model") -> int:
    """Return the bytes of all tensors, of which tied ones are one."""
    tied = model.shape.tied
    return sum(
        tensor.size for tensor in model.tensors if not (tied and tensor.name.startswith("lm_head"))
    )
