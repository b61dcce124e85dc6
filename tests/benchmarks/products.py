"""Half-precision matrix products on the CPU: the engine's linear layers against torch's own.

    python -m tests.benchmarks.products [--pairs N]

A layer of Tülu 3 8B (its `down_proj`, 14,336 to 4,096) in bf16, on one row, as while an answer is
decoded, and on many, as while a prompt is read. Both sides are the same module in one process.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import nn

from tulu_cli.engines.transformers.linear import use_faster_products
from tulu_cli.text import plural

from .pairs import Rounds, alternate
from .report import Asked, Goal, Row, at_least, compare, run

IN, OUT = 14336, 4096
# Rows -> the least that changing the product must gain; what torch does well is left to it.
ROWS = {1: at_least(1, "gain"), 8: Goal("gain"), 32: Goal("gain"), 512: Goal("gain")}
PAIRS = 12


def seconds(product: Callable[[torch.Tensor], torch.Tensor], states: torch.Tensor) -> float:
    """Seconds of one product, the first call aside."""
    product(states)
    started = time.perf_counter()
    product(states)
    return time.perf_counter() - started


def compared(rows: int, pairs: int) -> Rounds[float]:
    """Milliseconds of ours and of torch's product on so many rows."""
    theirs = nn.Linear(IN, OUT, bias=False, dtype=torch.bfloat16)
    ours = deepcopy(theirs)
    use_faster_products(ours)
    states = torch.randn(rows, IN, dtype=torch.bfloat16)
    sides = {"ours": partial(seconds, ours, states), "nn.Linear": partial(seconds, theirs, states)}
    return alternate(sides, pairs).each(lambda spent: spent * 1000)


def main(asked: Asked) -> list[Row]:
    """Each number of rows."""
    capability = torch.backends.cpu.get_cpu_capability()
    figures = []
    with torch.inference_mode():
        for rows, goal in ROWS.items():
            rounds = compared(rows, asked.pairs)
            what = f"bf16 product of {plural(rows, 'row')}, {capability}"
            figures.append(compare(rounds, what, "ours", "nn.Linear", "ms", goal))
    return figures


if __name__ == "__main__":
    run(main, pairs=PAIRS)
