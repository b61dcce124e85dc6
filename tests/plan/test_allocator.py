"""What PyTorch counts as allocated."""

import pytest

from tulu_cli.plan.values import MIB
from tulu_cli.plan.vllm import allocated


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
