"""Faster matrix-vector products on the CPU.

Measured on two AVX-512 cores with torch 2.13: a bf16 nn.Linear on one token goes through a matrix
product that reads its weights at 6 to 17 GB/s, torch.mv at 9 to 34 GB/s, with the same bytes.
float32 gains nothing, so only half-precision layers are changed.
"""

from types import MethodType

import torch
from torch import nn


def use_matrix_vector_products(model: nn.Module) -> None:
    """Let the half-precision linear layers of a CPU model take torch.mv for a single token."""
    for module in model.modules():
        if type(module) is nn.Linear and _gains(module.weight):
            module.forward = MethodType(_forward, module)


def _gains(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.bfloat16, torch.float16)


def _forward(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    if states.numel() != layer.in_features:
        return nn.functional.linear(states, layer.weight, layer.bias)
    output = torch.mv(layer.weight, states.view(-1))
    if layer.bias is not None:
        output = output + layer.bias
    return output.view(*states.shape[:-1], layer.out_features)
