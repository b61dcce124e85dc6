"""The activation peak of vLLM's profiling run: one forward pass and one sampling step.

Checked against the figures of real logs (tests/plan/data): with every hidden size, vocabulary and
release there, the sampler's peak is met within 0.02 GiB.
"""

from typing import NamedTuple

from tulu_cli.plan.shape import Shape
from tulu_cli.plan.values import MIB, Range
from tulu_cli.plan.versions import Rules

# cuBLAS's workspace: aten/src/ATen/cuda/CUDABlas.cpp, getChosenWorkspaceSize.
_HOPPER = (9, 0)
_LARGE_WORKSPACE = 32 * MIB
_WORKSPACE = 8 * MIB + 128 * 1024
_FULL_PRECISION = 4
# The uncertainty is one part in this many, by model runner: no log of runner 2 was seen whole.
_SHARE = {1: 10, 2: 4}
# Bits that runner 2 keeps for each logit: a counter, and one bit for "was in the prompt".
_COUNTER_BITS = 33


class Batch(NamedTuple):
    """The profiling run: all its tokens and sequences, and the GPUs that share a layer."""

    tokens: int
    sequences: int
    gpus: int


class Chip(NamedTuple):
    """The compute capability of a GPU and its number of multiprocessors."""

    capability: tuple[int, int]
    processors: int


def workspace(chip: Chip) -> int:
    """Return the bytes of the workspace that cuBLAS keeps once it has run."""
    return _LARGE_WORKSPACE if chip.capability >= _HOPPER else _WORKSPACE


def activation_peak(
    shape: Shape, batch: Batch, rules: Rules, chip: Chip, *, samples: bool, staged: bool = False
) -> Range:
    """Return the peak of one GPU beyond its weights, in bytes.

    `samples` is True on a GPU that has the head and samples, `staged` where the layers are split
    over several pipeline stages, which receive hidden states.
    """
    expected = forward_peak(shape, batch, rules)
    if staged:  # it receives hidden states and residual
        expected += 2 * batch.tokens * shape.hidden * shape.dtype_bytes
    if samples and shape.labels is None:
        expected = max(expected, sampler_peak(shape, batch, rules, chip))
        expected += sampler_state(shape, batch, rules)
    expected += expert_buffers(shape, batch) + workspace(chip)
    # What attention and quantized layers hold for a moment is inside this share. A cold compile
    # cache held 0.8 GiB more in one pair of runs (0.28), with the second runner.
    share = _SHARE[_runner(shape, rules)]
    return Range(expected - expected // share, expected, expected + expected // share)


def forward_peak(shape: Shape, batch: Batch, rules: Rules) -> int:
    """Return the bytes at the widest moment of a layer, where the MLP holds gate, up and product.

    Three tensors of the hidden size are alive then in V0, and a fourth between compiled pieces.
    """
    width = shape.intermediate
    if shape.experts and shape.experts.first == 0:
        width = shape.experts.shared
    attention = 0 if shape.latent is None else _latent_width(shape)
    inner = max(3 * width, attention) // batch.gpus
    hidden = (3 + rules.engine) * shape.hidden
    return batch.tokens * (hidden + inner) * shape.dtype_bytes


def sampler_peak(shape: Shape, batch: Batch, rules: Rules, chip: Chip) -> int:
    """Return the bytes of all logits and what sampling makes of them, beside the hidden states."""
    logit = shape.dtype_bytes
    rows = min(batch.sequences, batch.tokens)
    held = batch.tokens * shape.hidden * shape.dtype_bytes
    if rules.engine == 1:
        held += 2 * rows * shape.hidden * shape.dtype_bytes
    if _runner(shape, rules) == 1:
        logit += rules.sampler_bytes
    if _runner(shape, rules) == 1 and rules.sampler_buffer:
        held += min(chip.processors, rows) * shape.vocabulary * _FULL_PRECISION
    return rows * shape.vocabulary * logit + held


def sampler_state(shape: Shape, batch: Batch, rules: Rules) -> int:
    """Return the bytes that runner 2 keeps for penalties.

    Source: vllm/v1/worker/gpu/sample/penalties.py.
    """
    if _runner(shape, rules) == 1 or not rules.state_in_budget:
        return 0
    return batch.sequences * shape.vocabulary * _COUNTER_BITS // 8


def _runner(shape: Shape, rules: Rules) -> int:
    return rules.experts_runner if shape.experts else rules.runner


def expert_buffers(shape: Shape, batch: Batch) -> int:
    """Return the bytes that expert kernels keep between layers.

    They are the input, product and output of each expert that a token visits.
    """
    experts = shape.experts
    if experts is None:
        return 0
    width = 3 * experts.width // batch.gpus + shape.hidden
    return batch.tokens * experts.active * width * shape.dtype_bytes


def _latent_width(shape: Shape) -> int:
    """Return the width of queries, keys and values of latent attention, expanded to all heads."""
    latent = shape.latent
    assert latent is not None
    return shape.heads * (2 * (latent.nope + latent.rope) + latent.value)
