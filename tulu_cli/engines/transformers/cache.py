"""A key-value cache that grows in place and can be kept between requests.

transformers' DynamicCache concatenates, so every token copies the whole cache of every layer. These
layers write into a buffer that doubles when it is full, and can be cut back to any length, also
after an exception in the middle of a forward pass has left the layers at different lengths.
"""

import inspect
from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin, DynamicCache, DynamicLayer

from tulu_cli.errors import EngineError

_FIRST_CAPACITY = 256
# What models call the cache that they are given: with transformers 5.24 the first; before, and in
# code of their own, the second.
_NAMES = ("cache", "past_key_values")


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, of shape (batch, KV heads, tokens, head size)."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens; return all keys and values so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        total = self._length + key_states.shape[-2]
        buffers = self._room(key_states, value_states, total)
        for buffer, states in zip(buffers, (key_states, value_states), strict=True):
            buffer[..., self._length : total, :] = states
        self._view(buffers, total)
        return self.keys, self.values

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens; a shorter layer stays as it is."""
        if self._buffers is not None:
            self._view(self._buffers, min(length, self._length))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        if self._buffers is not None:
            self._replace(tuple(buffer.repeat_interleave(repeats, 0) for buffer in self._buffers))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows at `indices`."""
        if self._buffers is not None:
            self._replace(tuple(buffer[indices, ...] for buffer in self._buffers))

    def merge(self, other: "GrowingLayer", skip: int) -> None:
        """Append the rows of `other`, after dropping the first `skip` tokens of these.

        The shorter of the two is padded on the left with zeros, which an attention mask has to
        exclude.
        """
        parts = ((self.keys[..., skip:, :], self.values[..., skip:, :]), (other.keys, other.values))
        length = max(keys.shape[-2] for keys, _ in parts)
        rows = sum(len(keys) for keys, _ in parts)
        buffers = []
        for some in zip(*parts, strict=True):
            shape = (rows, some[0].shape[1], capacity_for(length), some[0].shape[-1])
            buffer = some[0].new_empty(shape)
            begin = 0
            for states in some:
                end = begin + len(states)
                pad = length - states.shape[-2]
                buffer[begin:end, :, :pad] = 0
                buffer[begin:end, :, pad:length] = states
                begin = end
            buffers.append(buffer)
        self._view((buffers[0], buffers[1]), length)

    def get_seq_length(self) -> int:
        """Return the number of tokens held."""
        return self._length

    def _room(
        self, keys: torch.Tensor, values: torch.Tensor, total: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._buffers is not None and total <= self._buffers[0].shape[-2]:
            return self._buffers
        capacity = capacity_for(total)
        old = self._buffers
        key_buffer, value_buffer = (
            states.new_empty(*states.shape[:-2], capacity, states.shape[-1])
            for states in (keys, values)
        )
        if old is not None:
            key_buffer[..., : self._length, :] = old[0][..., : self._length, :]
            value_buffer[..., : self._length, :] = old[1][..., : self._length, :]
        return key_buffer, value_buffer

    def _replace(self, buffers: tuple[torch.Tensor, ...]) -> None:
        self._view((buffers[0], buffers[1]), self._length)

    def _view(self, buffers: tuple[torch.Tensor, torch.Tensor], length: int) -> None:
        self._buffers, self._length = buffers, length
        self.keys, self.values = (buffer[..., :length, :] for buffer in buffers)


def capacity_for(tokens: int) -> int:
    """Return the tokens to allocate for `tokens`, with spare ones so that growing is rare."""
    return max(_FIRST_CAPACITY, 2 * tokens)


def cache_argument(model: Any) -> str:
    """Return the name of the argument by which `model` takes its cache.

    Raise EngineError if it takes none. A model that keeps only a state, such as Mamba, is refused
    too: transformers computes it wrongly when a prompt comes in pieces (5.19 and 5.24).
    """
    parameters = inspect.signature(model.forward).parameters
    for name in _NAMES:
        if name in parameters and has_keys(new_cache(model.config)):
            return name
    raise EngineError(
        f"{type(model).__name__} has no cache of keys and values, which this engine needs: "
        "choose another model, or --engine vllm."
    )


def new_cache(config: Any) -> DynamicCache:
    """Return a cache for a model: plain attention layers grow, others are the library's."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


class KeptCache:
    """The cache of the last request and its token ids, for the next request to start from.

    A model with layers that cannot be truncated (sliding windows, state spaces) is only continued
    if the new prompt begins with everything that is held.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._cache: DynamicCache | None = None
        self._ids: list[int] = []
        self._adapter: str | None = None

    def take(self, prompt: tuple[int, ...], adapter: str | None) -> tuple[DynamicCache, int]:
        """Return the cache for `prompt`, and how many of its first tokens it holds already.

        What another adapter has computed is of no use.

        At least one token is left to feed, because only a fed token has logits. The cache belongs
        to the caller until `keep` gives it back, so a failure in between leaves nothing wrong here.
        """
        cache, shared = self._cache, common_prefix(self._ids, prompt[:-1])
        self._cache = None
        if cache is None or not shared or adapter != self._adapter:
            return new_cache(self._config), 0
        if shared < len(self._ids) and not truncate(cache, shared):
            return new_cache(self._config), 0
        return cache, shared

    def keep(self, cache: DynamicCache, ids: list[int], adapter: str | None) -> None:
        """Hold `cache`, which has at least the tokens `ids` in it, for the next request."""
        if truncate(cache, len(ids)) or cache.get_seq_length() == len(ids):
            self._cache, self._ids, self._adapter = cache, ids, adapter

    def clear(self) -> None:
        """Free the memory of the cache."""
        self._cache, self._ids = None, []


def common_prefix(left: list[int], right: tuple[int, ...]) -> int:
    """Return the length of the longest common prefix."""
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def truncate(cache: DynamicCache, length: int) -> bool:
    """Truncate all layers to `length` tokens; return False, unchanged, if one cannot be."""
    if not is_plain(cache):
        return False
    for layer in cache.layers:
        layer.truncate(length)
    return True


def has_keys(cache: DynamicCache) -> bool:
    """Return True if any layer has keys and values, and so knows how many tokens it holds."""
    return any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)


def is_plain(cache: DynamicCache) -> bool:
    """Return True if every layer is a GrowingLayer, which can be truncated and merged."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def merge(cache: DynamicCache, other: DynamicCache, skip: int) -> None:
    """Append the rows of `other` to those of `cache`, layer by layer; both must be plain."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        layer.merge(more, skip)
