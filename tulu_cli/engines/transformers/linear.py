"""Faster matrix products on the CPU for half-precision weights, on processors that have none.

Measured with torch 2.13 on two cores (`python -m tests.benchmarks.products`):

- With AVX-512 but without its bf16 instructions, nn.Linear on one token reads its weights at 6 to
  17 GB/s, torch.mv at 9 to 34 GB/s, with the same bytes.
- With them (AMD EPYC), nn.Linear is 1.4 to 2.3 times faster than torch.mv, and is left alone.
- Without AVX-512 torch has no bf16 or fp16 product at all but a loop, which a float32 product beats
  from eight rows on, the widening of the weights included: 2.9 times at 32 rows of a layer of
  Tülu 3 8B, 4.9 times at 512.

float32 gains nothing, so only half-precision layers are changed.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

_WIDENED_FROM = 8
# Weights that are widened at a time: their 4 MiB stay in the processor's cache.
_ELEMENTS = 2**20


def use_faster_products(model: nn.Module) -> None:
    """Let the half-precision linear layers of a CPU model choose their product by the rows."""
    forward = product_of(torch.backends.cpu.get_cpu_capability(), has_bf16_instructions())
    if forward is None:
        return
    for module in model.modules():
        if type(module) is nn.Linear and _gains(module.weight):
            module.forward = MethodType(forward, module)


Forward = Callable[[nn.Linear, torch.Tensor], torch.Tensor]


def product_of(capability: str, bf16_instructions: bool) -> Forward | None:
    """The product for a processor with torch's word for what it can do; None for torch's own."""
    if capability == "AVX2":
        return _widened
    if capability == "AVX512" and not bf16_instructions:
        return _one_by_one
    return None


def has_bf16_instructions() -> bool:
    """Whether AVX-512 has them here. With AMX too torch takes other ways, not measured by us."""
    # Older releases of torch do not tell.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16")) and not capabilities.get("amx_bf16")


def _gains(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.bfloat16, torch.float16)


def _one_by_one(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    if states.numel() != layer.in_features:
        return nn.functional.linear(states, layer.weight, layer.bias)
    return _finished(layer, states, torch.mv(layer.weight, states.view(-1)))


def _widened(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    rows = states.numel() // layer.in_features
    if rows < _WIDENED_FROM:
        return nn.functional.linear(states, layer.weight, layer.bias)
    return _finished(layer, states, widened_product(states.reshape(rows, -1), layer.weight))


def _finished(layer: nn.Linear, states: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
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
