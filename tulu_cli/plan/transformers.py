"""The memory of transformers: weights on one GPU or spread over several, cache and activations.

Unlike vLLM it takes memory as it goes: the cache grows with each token, unless it is static.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.kv import span, state_bytes, token_bytes
from tulu_cli.plan.placement import parts_of, placed
from tulu_cli.plan.shape import DTYPE_BYTES, Kept, Keys, Shape, State, Vector
from tulu_cli.plan.values import Judgement, Range, Verdict
from tulu_cli.plan.vllm import CONTEXT, Model
from tulu_cli.text import gib

_FULL_PRECISION = 4
# QuantizedCache of cache_utils.py of transformers 5.19 with quanto: so many values share a scale
# and a shift, and the newest tokens stay as they are until there are one more than these.
_GROUP = 64
_UNQUANTIZED = 127


@dataclass(frozen=True)
class Generation:
    """The settings of one generation; `tokens` is the length of prompt and completion together.

    A static cache is allocated at that length at once; one with `cache_bits` is quantized.
    """

    tokens: int
    batch: int = 1
    beams: int = 1
    static: bool = False
    cache_bits: int | None = None

    @property
    def rows(self) -> int:
        """The sequences that are generated at once."""
        return self.batch * self.beams


class Share(NamedTuple):
    """What one GPU holds of a model: its weights, the cache of its layers, and activations."""

    gpu: Gpu
    weights: int
    cache: int
    activation: Range
    context: Range

    @property
    def total(self) -> Range:
        """The bytes in use at the peak."""
        return Range.exact(self.weights + self.cache) + self.activation + self.context


@dataclass(frozen=True)
class TransformersPlan:
    """The parts of the memory, in bytes, and the verdict.

    `shares` are those of the GPUs, and the other fields their sums. `offloaded` are the weights
    that no GPU has room for.
    """

    model: Model
    generation: Generation
    shares: tuple[Share, ...]
    offloaded: int
    judgement: Judgement

    @property
    def weights(self) -> int:
        """The bytes of all weights, on whatever they are."""
        return sum(share.weights for share in self.shares) + self.offloaded

    @property
    def cache(self) -> int:
        """The bytes of all keys, values and states."""
        return sum(share.cache for share in self.shares)

    @property
    def activation(self) -> Range:
        """The activations of the GPU that has the most: they work one after the other."""
        return max((share.activation for share in self.shares), key=lambda each: each.expected)

    @property
    def context(self) -> Range:
        """The CUDA contexts."""
        return sum((share.context for share in self.shares), Range.exact(0))

    @property
    def total(self) -> Range:
        """The bytes in use at the peak."""
        return Range.exact(self.weights + self.cache) + self.activation + self.context


def plan_transformers(
    model: Model, generation: Generation, gpus: Sequence[Gpu]
) -> TransformersPlan:
    """Plan one generation on GPUs that hold the layers in turn, as device_map does.

    The GPUs may differ. One alone holds everything. Raise UsageError for a quantized cache of a
    model that transformers has none for.
    """
    _check_cache(model, generation)
    parts = parts_of(model)
    where = placed(parts, [gpu.free_bytes for gpu in gpus]) if len(gpus) > 1 else [0] * len(parts)
    each_layer = layer_cache_bytes(model.shape, generation)
    weights, cache = [0] * (len(gpus) + 1), [0] * (len(gpus) + 1)
    for part, gpu in zip(parts, where, strict=True):
        weights[gpu] += part.size
        cache[gpu] += each_layer[part.layer] if part.layer is not None else 0
    cache[0] += cache[-1]  # what is offloaded is computed on the first GPU
    last = where[-1] if parts else 0
    shares = tuple(
        Share(
            gpu,
            weights[index],
            cache[index],
            activation_peak(model.shape, generation, logits=index == min(last, len(gpus) - 1)),
            CONTEXT,
        )
        for index, gpu in enumerate(gpus)
    )
    return TransformersPlan(model, generation, shares, weights[-1], _judge(shares, weights[-1]))


def _check_cache(model: Model, generation: Generation) -> None:
    """Raise UsageError for a cache that the model cannot have."""
    kept = [one for layer in model.shape.decoder for one in layer.kept]
    whole = all(isinstance(one, Keys) and not (one.window or one.chunk) for one in kept)
    if generation.cache_bits and not whole:
        raise UsageError(
            f"--quantized-cache is for models that keep keys and values of every token in each "
            f"layer, and {model.name} does not."
        )


def _judge(shares: Sequence[Share], offloaded: int) -> Judgement:
    """Return whether every GPU holds its share, by the one that has the least left."""
    tightest = min(shares, key=lambda share: share.gpu.free_bytes - share.total.expected)
    total, free = tightest.total, tightest.gpu.free_bytes
    where = f" on GPU {shares.index(tightest)} ({tightest.gpu.name})" if len(shares) > 1 else ""
    need = f"{gib(total.expected)} are needed{where}, and {gib(free)} are free"
    if offloaded:
        return Judgement(
            Verdict.NOT,
            f"{gib(offloaded)} of the weights would be in the machine's memory, because the GPUs "
            "have no room for them",
        )
    if total.expected > free:
        return Judgement(Verdict.NOT, need)
    if any(share.total.high > share.gpu.free_bytes for share in shares):
        return Judgement(Verdict.TIGHT, f"{need}; it may take {gib(total.high)}")
    return Judgement(Verdict.FITS, need)


def cache_bytes(shape: Shape, generation: Generation) -> int:
    """Return the bytes of all keys, values and states; a layer with a window keeps only that."""
    return sum(layer_cache_bytes(shape, generation))


def layer_cache_bytes(shape: Shape, generation: Generation) -> list[int]:
    """Return the bytes that each layer keeps.

    A dynamic cache never holds the last token that is generated. A quantized one has the most
    where as many tokens as may be are not quantized yet.
    """
    held = generation.tokens if generation.static else generation.tokens - 1
    bits = generation.cache_bits
    plain = held if bits is None else min(held, _UNQUANTIZED)
    return [
        generation.rows
        * sum(
            _kept_bytes(shape, one, plain)
            + (_quantized_bytes(shape, one, held - plain, bits) if bits else 0)
            for one in layer.kept
        )
        for layer in shape.decoder
    ]


def _quantized_bytes(shape: Shape, kept: Kept, tokens: int, bits: int) -> int:
    """Return the bytes of `tokens` tokens, each group with a scale and a shift."""
    size = token_bytes(kept, 1, shape.dtype) * tokens
    values = size // shape.dtype_bytes
    return values * bits // 8 + 2 * size // _GROUP


def _kept_bytes(shape: Shape, kept: Kept, tokens: int) -> int:
    """Return the bytes that a layer keeps for `tokens` tokens."""
    if isinstance(kept, State):
        # transformers keeps as many inputs as the convolution has taps, and states in float32.
        kept = kept._replace(kernel=kept.kernel + 1, recurrent_dtype="float32")
        return state_bytes(kept, 1, shape.dtype)
    if isinstance(kept, Vector):  # compressed as in vLLM, and all of it in the model's data type
        return tokens * kept.size * shape.dtype_bytes
    return span(kept, tokens) * token_bytes(kept, 1, shape.dtype)


def activation_peak(shape: Shape, generation: Generation, *, logits: bool = True) -> Range:
    """Return the bytes of a forward pass over the whole prompt, with `logits` in float32."""
    rows = generation.rows * generation.tokens
    size = DTYPE_BYTES[shape.dtype]
    forward = rows * (4 * shape.hidden + 3 * shape.intermediate) * size
    made = generation.rows * shape.vocabulary * (size + 3 * _FULL_PRECISION) if logits else 0
    if generation.cache_bits:  # a layer's keys and values, unpacked and then joined to the newest
        layers = [[token_bytes(one, 1, shape.dtype) for one in each.kept] for each in shape.decoder]
        forward += 2 * rows * max(map(sum, layers), default=0)
    # What is not causal alone has a mask of tokens by tokens: a bit mask in bytes, and for each
    # sequence one that is added, in the model's data type (masking_utils.py, and PyTorch's
    # convert_boolean_attn_mask). Padding is not known before.
    square, padded = generation.tokens**2, 0
    if any(_is_cut(one, generation.tokens) for layer in shape.decoder for one in layer.kept):
        forward += square * (generation.rows * size + 1)
    elif generation.batch > 1:
        padded = square * generation.rows * (size + 1)
    return Range(forward // 2, forward + made, 2 * (forward + made) + padded)


def _is_cut(kept: Kept, tokens: int) -> bool:
    """Return True if a layer attends to fewer tokens than there are."""
    return isinstance(kept, Keys) and span(kept, tokens) < tokens
