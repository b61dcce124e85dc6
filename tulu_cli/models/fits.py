"""Whether the weights of a model fit here: the first question, and not the whole of the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the weights fit: on so many GPUs, in memory, or nowhere."""

    place: Literal["gpu", "memory", "nowhere"]
    gpus: int = 0


def weights_fit(weight_bytes: int, gpus_free: Sequence[int], memory_free: int) -> Fit:
    """The least that holds so many bytes of weights, all sizes in bytes.

    Several GPUs share the weights evenly, in a number that is a power of two, as tensor
    parallelism has it. The context and the activations need more: that is for a plan to say.
    """
    roomiest = sorted(gpus_free, reverse=True)
    count = 1
    while count <= len(roomiest):
        if roomiest[count - 1] * count >= weight_bytes:
            return Fit("gpu", count)
        count *= 2
    return Fit("memory") if weight_bytes <= memory_free else Fit("nowhere")
