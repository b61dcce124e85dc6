"""The bytes that PyTorch's caching allocator counts for tensors, which are more than their own.

Source: c10/cuda/CUDACachingAllocator.cpp.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from tulu_cli.plan.values import MIB, round_up

_GRAIN = 512
_SMALL = MIB
_LARGE = 10 * MIB
_SEGMENT = 20 * MIB
_STEP = 2 * MIB
# vLLM's limit while it loads weights: vllm/v1/worker/gpu_worker.py, load_model.
_SPLIT_LIMIT = 20 * MIB


def allocated(sizes: Iterable[int], *, split_limit: bool = False) -> int:
    """Return the bytes that are counted for tensors of these sizes, allocated in this order.

    A request of 1 MiB or more is cut from a segment of 20 MiB or, from 10 MiB on, of its own size
    rounded up to 2 MiB; a rest of 1 MiB or less stays with the tensor. With `split_limit`, any rest
    stays with a tensor of 20 MiB or more. Tensors that are not multiples of 2 MiB therefore cost
    more than their bytes: 0.06 GiB in all for Qwen2.5 7B, and 0.09 for Qwen2.5 1.5B with the limit.
    """
    free: list[int] = []
    total = 0
    for request in sizes:
        size = round_up(request, _GRAIN)
        if size < _SMALL:
            total += size
            continue
        place = bisect_left(free, size)
        block = free.pop(place) if place < len(free) else _segment(size)
        left = block - size
        if left > _SMALL and not (split_limit and size >= _SPLIT_LIMIT):
            insort(free, left)
            block = size
        total += block
    return total


def _segment(size: int) -> int:
    return _SEGMENT if size < _LARGE else round_up(size, _STEP)
