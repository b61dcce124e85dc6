"""What PyTorch's allocator counts as allocated for tensors of given sizes.

Its rules are in c10/cuda/CUDACachingAllocator.cpp: 512 bytes is the grain; a request of 1 MiB or
more is cut from a segment of 20 MiB, or, from 10 MiB on, of the size itself rounded up to 2 MiB;
what would be left of a block, if it is 1 MiB or less, stays with the tensor. Tensors that are no
multiple of 2 MiB therefore cost more than their bytes: 0.06 GiB in all for Qwen2.5 7B.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from tulu_cli.plan.values import MIB, round_up

_GRAIN = 512
_SMALL = MIB
_LARGE = 10 * MIB
_SEGMENT = 20 * MIB
_STEP = 2 * MIB


def allocated(sizes: Iterable[int]) -> int:
    """The bytes that are counted as allocated after tensors of these sizes were made in order."""
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
        if left > _SMALL:
            insort(free, left)
            block = size
        total += block
    return total


def _segment(size: int) -> int:
    return _SEGMENT if size < _LARGE else round_up(size, _STEP)
