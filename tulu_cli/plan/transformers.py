"""The memory of transformers: weights on one GPU or spread over several, cache and activations.

Unlike vLLM it takes memory as it goes: the cache grows with each token, unless it is static.
"""

from dataclasses import dataclass

from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.kv import token_bytes
from tulu_cli.plan.shape import DTYPE_BYTES, Shape
from tulu_cli.plan.values import Judgement, Range, Verdict
from tulu_cli.plan.vllm import CONTEXT, Model
from tulu_cli.plan.weights import weight_bytes
from tulu_cli.text import gib

_FULL_PRECISION = 4


@dataclass(frozen=True)
class Generation:
    """The settings of one generation; `tokens` is the length of prompt and completion together.

    A static cache is allocated at that length at once.
    """

    tokens: int
    batch: int = 1
    beams: int = 1
    static: bool = False

    @property
    def rows(self) -> int:
        """The sequences that are generated at once."""
        return self.batch * self.beams


@dataclass(frozen=True)
class TransformersPlan:
    """The parts of the memory over all GPUs, in bytes, and the verdict."""

    model: Model
    generation: Generation
    weights: int
    cache: int
    activation: Range
    context: Range
    judgement: Judgement

    @property
    def total(self) -> Range:
        """The bytes in use at the peak."""
        return Range.exact(self.weights + self.cache) + self.activation + self.context


def plan_transformers(
    model: Model, generation: Generation, gpu: Gpu, count: int = 1
) -> TransformersPlan:
    """Plan one generation on `count` GPUs, which hold the layers in turn, as device_map does."""
    weights = weight_bytes(model)
    cache = cache_bytes(model.shape, generation)
    activation = activation_peak(model.shape, generation)
    context = Range(*(size * count for size in (CONTEXT.low, CONTEXT.expected, CONTEXT.high)))
    total = Range.exact(weights + cache) + activation + context
    free = gpu.free_bytes * count
    need = f"{gib(total.expected)} are needed, and {gib(free)} are free"
    if total.expected > free:
        judgement = Judgement(Verdict.NOT, need)
    elif total.high > free:
        judgement = Judgement(Verdict.TIGHT, f"{need}; it may take {gib(total.high)}")
    else:
        judgement = Judgement(Verdict.FITS, need)
    return TransformersPlan(model, generation, weights, cache, activation, context, judgement)


def cache_bytes(shape: Shape, generation: Generation) -> int:
    """Return the bytes of all keys and values; a layer with a window keeps only the window.

    A dynamic cache never holds the last token that is generated.
    """
    token = _token_bytes(shape)
    held = generation.tokens if generation.static else generation.tokens - 1
    return generation.rows * token * sum(min(window or held, held) for window in shape.windows)


def activation_peak(shape: Shape, generation: Generation) -> Range:
    """Return the bytes of a forward pass over the whole prompt, with logits in float32."""
    rows = generation.rows * generation.tokens
    size = DTYPE_BYTES[shape.dtype]
    forward = rows * (4 * shape.hidden + 3 * shape.intermediate) * size
    logits = generation.rows * shape.vocabulary * (size + 3 * _FULL_PRECISION)
    # A static or padded batch has a mask of tokens by tokens; an attention that is not fused
    # would hold it for every head.
    mask = generation.rows * generation.tokens**2 if generation.batch > 1 else 0
    return Range(forward // 2, forward + logits, 2 * (forward + logits) + mask)


def _token_bytes(shape: Shape) -> int:
    """Return the bytes of a token in one layer; latent attention is expanded to all heads."""
    if shape.latent is None:
        return token_bytes(shape, 1, shape.dtype)
    latent = shape.latent
    return shape.heads * (latent.nope + latent.rope + latent.value) * shape.dtype_bytes
