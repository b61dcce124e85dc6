"""The activation peak of vLLM's profiling run: one forward pass and one sampling step.

Checked against the figures of real logs (tests/plan/data): with every hidden size, vocabulary and
release there, the sampler's peak is met within 0.02 GiB.
"""

from typing import NamedTuple

from tulu_cli.plan.shape import Shape, State
from tulu_cli.plan.values import MIB, Range, ceil_div
from tulu_cli.plan.versions import Rules

# cuBLAS's workspace, and hipBLAS's on AMD, which has more on CDNA 3 and 4: parseChosenWorkspaceSize
# of PyTorch's aten/src/ATen/cuda/CUDABlas.cpp.
_HOPPER = (9, 0)
_CDNA = ((9, 4), (9, 5))
_CDNA_WORKSPACE = 128 * MIB
_LARGE_WORKSPACE = 32 * MIB
_WORKSPACE = 8 * MIB + 128 * 1024
_FULL_PRECISION = 4
# The uncertainty is one part in this many.
_SHARE = 10
_ENCODER_SHARE = 4  # no log tells the peak of an image encoder
# Bits that runner 2 keeps for each logit: a counter, and one bit for "was in the prompt".
_COUNTER_BITS = 33
# FlashInfer's sampling copies the logits of the first filter and the probabilities; vLLM has it
# for no AMD GPU and on none before Ampere (FlashInferBackend.supports_compute_capability).
_FUSED_COPIES = 2
_AMPERE = (8, 0)
# From so many tokens on, AWQ without Marlin unpacks a matrix instead of reading it packed.
_UNPACKED_FROM = 256


class Batch(NamedTuple):
    """The profiling run: all its tokens and sequences, and the GPUs that share a layer.

    `replicas` is the number of data-parallel replicas, which share the experts too; with
    `whole_experts`, each GPU has some experts instead of a part of each.
    """

    tokens: int
    sequences: int
    gpus: int
    replicas: int = 1
    whole_experts: bool = False


class Chip(NamedTuple):
    """The compute capability of a GPU and its number of multiprocessors.

    AMD's capabilities are the numbers of its architectures, and some are those of NVIDIA GPUs too.
    """

    capability: tuple[int, int]
    processors: int
    amd: bool = False


def workspace(chip: Chip) -> int:
    """Return the bytes of the workspace that cuBLAS or hipBLAS keeps once it has run."""
    if chip.amd:
        return _CDNA_WORKSPACE if chip.capability in _CDNA else _LARGE_WORKSPACE
    return _LARGE_WORKSPACE if chip.capability >= _HOPPER else _WORKSPACE


def has_second_runner(shape: Shape, rules: Rules, *, quantized: bool) -> bool:
    """Return True if the release serves such a model with Model Runner V2 by default."""
    served = rules.second_runner
    if "all" in served:
        return True
    hybrid = any(isinstance(kept, State) for layer in shape.decoder for kept in layer.kept)
    if shape.labels is not None or hybrid or (quantized and not rules.second_runner_quantized):
        return False
    return shape.architecture in served or ("dense" in served and shape.experts is None)


class Peak(NamedTuple):
    """The activation peak of one GPU beyond its weights, in bytes.

    `compiling` is the memory that a start with an empty compile cache takes beside `running`.
    """

    running: Range
    compiling: Range


def activation_peak(
    shape: Shape,
    batch: Batch,
    rules: Rules,
    chip: Chip,
    *,
    samples: bool,
    compiles: bool,
    staged: bool = False,
    unpacks: bool = False,
    second_runner: bool = False,
    reading: int = 0,
    seen: int = 0,
) -> Peak:
    """Return the peak of one GPU.

    `reading` are the bytes of an image encoder at its widest moment, which comes first, and `seen`
    those of its output, which is kept until the end: profile_run of vllm/v1/worker/
    gpu_model_runner.py.

    `samples` is True on a GPU that has the head and samples, `staged` where the layers are split
    over several pipeline stages, which receive hidden states, and `unpacks` where quantized weights
    are unpacked before they are multiplied.
    """
    forward, held = forward_peak(shape, batch, rules, unpacks=unpacks), 0
    if rules.keeps_experts:
        held += expert_buffers(shape, batch)
    else:
        forward += expert_buffers(shape, batch)
    if staged:  # it receives hidden states and residual
        forward += 2 * batch.tokens * shape.hidden * shape.dtype_bytes
    sampling = 0
    if samples and shape.labels is None:
        sampling = sampler_peak(shape, batch, rules, chip, second_runner=second_runner)
        if second_runner and rules.state_in_budget:
            held += counter_bytes(shape, batch)
    if rules.counts_workspace:
        held += workspace(chip)
    # What attention and quantized layers hold for a moment is inside this share.
    most = max(max(forward, sampling) + seen, reading)
    expected = most + held
    unsure = expected // _SHARE + reading // _ENCODER_SHARE
    running = Range(expected - unsure, expected, expected + unsure)
    compiling = Range.exact(0)
    if compiles:
        compiling = _compiling(most, rules, batch.gpus)
    return Peak(running, compiling)


def _compiling(peak: int, rules: Rules, gpus: int) -> Range:
    """Return what an empty compile cache costs beside the `peak` of running.

    Compiling tries its kernels before they run, so that a larger peak hides it. One start and the
    next differ by 0.8 and 1.2 GiB in logs of 0.28; a GeForce 50 leaves up to 1.5 GiB allocated.
    """
    trial, left = ceil_div(rules.compile_bytes, gpus), ceil_div(rules.compile_left_bytes, gpus)
    return Range(0, max(0, trial - peak) + left, max(0, trial * 5 // 4 - peak) + 3 * left)


def forward_peak(shape: Shape, batch: Batch, rules: Rules, *, unpacks: bool = False) -> int:
    """Return the bytes at the widest moment of a layer, where the MLP holds gate, up and product.

    Three tensors of the hidden size are alive then in V0, and a fourth between compiled pieces.
    With `unpacks`, gate and up are made of their whole matrix in the model's data type:
    AutoAWQLinearMethod.apply of layers/quantization/auto_awq.py, alike in vLLM 0.30 to 0.33.
    """
    width = shape.intermediate
    if shape.experts and shape.experts.first == 0:
        width = shape.experts.shared
    attention = 0 if shape.latent is None else _latent_width(shape)
    inner = max(3 * width, attention) // batch.gpus
    hidden = (3 + rules.engine) * shape.hidden
    values = batch.tokens * (hidden + inner)
    if unpacks and batch.tokens >= _UNPACKED_FROM:
        made = 2 * width // batch.gpus
        values = max(values, batch.tokens * (hidden + made) + shape.hidden * made)
    return values * shape.dtype_bytes


def sampler_peak(
    shape: Shape, batch: Batch, rules: Rules, chip: Chip, *, second_runner: bool = False
) -> int:
    """Return the bytes of all logits and what sampling makes of them, beside the hidden states."""
    logit = shape.dtype_bytes
    rows = min(batch.sequences, batch.tokens)
    held = batch.tokens * shape.hidden * shape.dtype_bytes
    buffer = min(chip.processors, rows) * shape.vocabulary * _FULL_PRECISION
    if rules.engine == 1:
        held += 2 * rows * shape.hidden * shape.dtype_bytes
    if not second_runner:
        logit += rules.sampler_bytes
        held += buffer if rules.sampler_buffer else 0
    elif rules.second_sampler:
        fused = chip.capability >= _AMPERE and not chip.amd
        logit += _FULL_PRECISION * (1 + _FUSED_COPIES * fused)
        held += 0 if fused else buffer
    return rows * shape.vocabulary * logit + held


def counter_bytes(shape: Shape, batch: Batch) -> int:
    """Return the bytes that runner 2 keeps for penalties.

    Source: vllm/v1/worker/gpu/sample/penalties.py.
    """
    return batch.sequences * shape.vocabulary * _COUNTER_BITS // 8


def expert_buffers(shape: Shape, batch: Batch) -> int:
    """Return the bytes that expert kernels work in.

    They are the input, product and output of each expert that a token visits; replicas compute
    experts for the tokens of all (all2all_backend of vllm/config/parallel.py).
    """
    experts = shape.experts
    if experts is None:
        return 0
    shared = 1 if batch.whole_experts else batch.gpus * batch.replicas
    width = 3 * experts.width // shared + shape.hidden
    return batch.tokens * batch.replicas * experts.active * width * shape.dtype_bytes


def _latent_width(shape: Shape) -> int:
    """Return the width of queries, keys and values of latent attention, expanded to all heads."""
    latent = shape.latent
    assert latent is not None
    return shape.heads * (2 * (latent.nope + latent.rope) + latent.value)
