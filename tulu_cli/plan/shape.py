"""The shape of a model: every number that decides its memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
KV_DTYPE_BYTES = {**DTYPE_BYTES, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}

Named = tuple[str, tuple[int, ...]]
"""The name of a weight and its dimensions."""


class Keys(NamedTuple):
    """The keys and values that a layer keeps of each token, and for how many tokens.

    Heads are divided over GPUs. With a `window`, only its tokens are kept; with a `chunk`, those
    of the chunk that is being written.
    """

    heads: int
    size: int
    value_size: int
    window: int | None = None
    chunk: int | None = None


class Vector(NamedTuple):
    """A vector that latent attention keeps of each token, which every GPU has whole.

    `fixed_bytes` are those of one that has a data type of its own, whatever that of the cache.
    """

    size: int
    fixed_bytes: int | None = None


class State(NamedTuple):
    """The state that a recurrent layer keeps of a sequence, however long it is.

    It is the last `kernel` - 1 inputs of a convolution, which has `channels` channels and beside
    them `groups` groups of `group_channels`, and `recurrent` numbers in the data type
    `recurrent_dtype`, None for that of the model.
    """

    kernel: int
    channels: int
    recurrent: int = 0
    groups: int = 0
    group_channels: int = 0
    recurrent_dtype: str | None = None


Kept = Keys | Vector | State


class Layer(NamedTuple):
    """The weights of a layer, or of a part of one, and what it keeps of a sequence."""

    weights: tuple[Named, ...]
    kept: tuple[Kept, ...] = ()


class Latent(NamedTuple):
    """Multi-head latent attention: one compressed vector a token instead of keys and values.

    `rank` and `rope` are the sizes of its two parts, `nope` and `value` the head sizes that it is
    expanded to, `query_rank` the size that queries are compressed to, or None.
    """

    rank: int
    rope: int
    nope: int
    value: int
    query_rank: int | None


class Sight(NamedTuple):
    """What the images of a model take.

    `most` are the tokens of the largest image, `patches` what the encoder reads of it, and `tokens`
    returns those of an image by its height and width in pixels. `frames` are the tokens of the two
    largest frames of a video, of which vLLM reads up to `pairs` at once, 0 where it reads none.

    `width` and `inner` are the sizes of a layer of the encoder, in which a patch has `alive`
    values of its feed-forward network at once; `kept` is the number of values that its output has
    for a token.
    """

    most: int
    tokens: Callable[[int, int], int]
    patches: int
    width: int
    inner: int
    alive: int
    kept: int
    frames: int = 0
    pairs: int = 0


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: their number, those that a token visits, and the width of each.

    `shared` is the width of the expert that every token visits, 0 for none; `first` is the first
    layer with experts.
    """

    count: int
    active: int
    width: int
    shared: int = 0
    first: int = 0


class Shape(NamedTuple):
    """The dimensions of a decoder, and of what stands beside it.

    `decoder` has the layers, `front` the weights that come before them, such as an image encoder,
    and `back` those that come after. `prefix` is the name of the decoder's module. `ropes` is the
    number of tables of rotary positions that vLLM keeps. `positions` is the longest context in
    tokens, `kv_dtype` the data type that the checkpoint asks for its KV cache, None for that of
    the model. `labels` is the number of outputs of a reward model, None for a language model.
    `whole_vocabulary` is True where vLLM makes embedding and head on every pipeline stage.
    `sight` is what its images take, None where it is not known or there are none, and `idle` are
    the beginnings of the names of weights that vLLM does not load.

    With `partial`, there are weights beside those that are named here.

    `heads`, `kv_heads`, `head_size` and `intermediate` are those of most layers. Where `known` is
    False, only the weights are: what the layers keep of a sequence is not.
    """

    architecture: str
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    positions: int
    dtype: str
    tied: bool
    decoder: tuple[Layer, ...]
    rotary_size: int
    prefix: str = "model"
    ropes: int = 1
    front: tuple[Named, ...] = ()
    back: tuple[Named, ...] = ()
    latent: Latent | None = None
    experts: Experts | None = None
    labels: int | None = None
    kv_dtype: str | None = None
    whole_vocabulary: bool = False
    sight: Sight | None = None
    idle: tuple[str, ...] = ()
    known: bool = True
    partial: bool = False

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.decoder)

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one unquantized weight."""
        return DTYPE_BYTES[self.dtype]


def unknown(architecture: str, layers: int, dtype: str) -> Shape:
    """Return the shape of a model of which only the weights are known."""
    return Shape(
        architecture=architecture,
        hidden=0,
        heads=1,
        kv_heads=1,
        head_size=0,
        intermediate=0,
        vocabulary=0,
        positions=0,
        dtype=dtype,
        tied=False,
        decoder=(Layer(()),) * layers,
        rotary_size=0,
        known=False,
    )
