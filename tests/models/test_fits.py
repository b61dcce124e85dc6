"""The least that holds the weights: one GPU, several, the memory, or nothing."""

import pytest

from tulu_cli.commands.models._family import Fit, weights_fit


@pytest.mark.parametrize(
    ("gpus", "memory", "expected"),
    [
        ((), 15, Fit("nowhere")),
        ((), 16, Fit("memory")),
        ((16,), 0, Fit("gpu", 1)),
        ((15,), 99, Fit("memory")),
        ((8, 8), 99, Fit("gpu", 2)),
        ((8, 7), 0, Fit("nowhere")),
        ((1, 20, 1), 0, Fit("gpu", 1)),
        ((7, 7, 7), 0, Fit("nowhere")),  # three cannot share evenly, two are too small
        ((4, 4, 4, 4), 0, Fit("gpu", 4)),
        ((2, 2, 2, 2, 2, 2, 2, 2), 0, Fit("gpu", 8)),
    ],
)
def test_the_least_that_holds_sixteen_bytes(
    gpus: tuple[int, ...], memory: int, expected: Fit
) -> None:
    assert weights_fit(16, gpus, memory) == expected
