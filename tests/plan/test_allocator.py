"""What PyTorch counts as allocated."""

import pytest

from tulu_cli.plan.allocator import allocated
from tulu_cli.plan.values import MIB


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1], 512),
        ([32 * MIB], 32 * MIB),
        ([31 * MIB + MIB // 2], 32 * MIB),  # half a MiB is left: it stays with the tensor
        ([30 * MIB + MIB // 2], 30 * MIB + MIB // 2),  # a MiB and a half is split off
        ([30 * MIB + MIB // 2, MIB], 30 * MIB + MIB // 2 + MIB + MIB // 2),  # and used again
        ([9 * MIB, 9 * MIB], 18 * MIB),  # of one segment of 20 MiB
        ([9 * MIB, 10 * MIB], 20 * MIB),
    ],
)
def test_what_is_left_of_a_block(sizes: list[int], expected: int) -> None:
    assert allocated(sizes) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([30 * MIB], 30 * MIB),
        ([29 * MIB - 512], 30 * MIB),  # over a MiB is left, and stays with the tensor
        ([20 * MIB + 512], 22 * MIB),
        ([20 * MIB - 512], 20 * MIB),  # half a KiB is left of a segment of 20 MiB
        ([13 * MIB - 512], 13 * MIB - 512),  # smaller than 20 MiB: split as ever
        ([9 * MIB, 9 * MIB], 18 * MIB),
    ],
)
def test_large_blocks_are_whole_while_weights_load(sizes: list[int], expected: int) -> None:
    assert allocated(sizes, split_limit=True) == expected
