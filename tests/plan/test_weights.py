"""The least that holds the weights: one GPU, several, the memory, or nothing."""

import pytest

from tulu_cli.plan.weights import WeightsFit, weights_fit


@pytest.mark.parametrize(
    ("gpus", "memory", "expected"),
    [
        ((), 15, WeightsFit("nowhere")),
        ((), 16, WeightsFit("memory")),
        ((16,), 0, WeightsFit("gpu", 1)),
        ((15,), 99, WeightsFit("memory")),
        ((8, 8), 99, WeightsFit("gpu", 2)),
        ((8, 7), 0, WeightsFit("nowhere")),
        ((1, 20, 1), 0, WeightsFit("gpu", 1)),
        ((7, 7, 7), 0, WeightsFit("nowhere")),  # three cannot share evenly, two are too small
        ((4, 4, 4, 4), 0, WeightsFit("gpu", 4)),
        ((2, 2, 2, 2, 2, 2, 2, 2), 0, WeightsFit("gpu", 8)),
    ],
)
def test_the_least_that_holds_sixteen_bytes(
    gpus: tuple[int, ...], memory: int, expected: WeightsFit
) -> None:
    assert weights_fit(16, gpus, memory) == expected
