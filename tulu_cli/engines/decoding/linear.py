"""Faster matrix products on the CPU for half-precision weights.

Measured with torch 2.13 on two cores. With AVX-512 a bf16 nn.Linear on one token goes through a
matrix product that reads its weights at 6 to 17 GB/s, torch.mv at 9 to 34 GB/s, with the same
bytes. Without AVX-512 torch has no bf16 or fp16 product at all but a loop, which a float32 product
beats from eight rows on, the widening of the weights included: 2.9 times at 32 rows of a layer of
Tülu 3 8B, 4.9 times at 512 (`python -m tests.benchmarks.products`). float32 gains nothing, so only
half-precision layers are changed.
"""

from types import MethodType

import torch
from torch import nn

_WIDENED_FROM = 8
# Weights that are widened at a time: their 4 MiB stay in the processor's cache.
_ELEMENTS = 2**20


def use_faster_products(model: nn.Module) -> None:
    """Let the half-precision linear layers of a CPU model choose their product by the rows."""
    for module in model.modules():
        if type(module) is nn.Linear and _gains(module.weight):
            module.forward = MethodType(_forward, module)


def _gains(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.bfloat16, torch.float16)


def _forward(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    rows = states.numel() // layer.in_features
    if rows == 1:
        output = torch.mv(layer.weight, states.view(-1))
    elif rows >= _WIDENED_FROM and torch.backends.cpu.get_cpu_capability() == "AVX2":
        output = widened_product(states.reshape(rows, -1), layer.weight)
    else:
        return nn.functional.linear(states, layer.weight, layer.bias)
    if layer.bias is not None:
        output = output + layer.bias
    return output.view(*states.shape[:-1], layer.out_features)


def widened_product(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`states @ weight.T`, shapes (rows, in) and (out, in), computed in float32."""
    wide = states.float()
    output = states.new_empty(len(states), len(weight))
    step = max(1, _ELEMENTS // weight.shape[1])
    for begin in range(0, len(weight), step):
        part = weight[begin : begin + step].float()
        output[:, begin : begin + step] = wide @ part.T
    return output
