"""The KV cache of vLLM: blocks of tokens, groups of layers, and the blocks of a request.

Source: vllm/v1/core/kv_cache_utils.py. Layers of one kind form a group; where a model mixes full
attention and sliding windows, groups are padded to one size and share one pool of blocks.
"""

from typing import NamedTuple

from tulu_cli.plan.shape import KV_DTYPE_BYTES, Shape
from tulu_cli.plan.sharding import Layout, stages
from tulu_cli.plan.values import ceil_div

# Groups whose sizes differ more are not padded (_get_kv_cache_groups_uniform_page_size).
_PADDING_LIMIT = 1.5


class Cache(NamedTuple):
    """The division of a model's KV cache into blocks on one GPU.

    A block holds `block_size` tokens in `layers` layers, padding included, each token of a layer
    in `token_bytes`. `windows` has one entry for each group of layers: its sliding window in
    tokens, or None for full attention.
    """

    block_size: int
    token_bytes: int
    layers: int
    windows: tuple[int | None, ...]

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return self.block_size * self.token_bytes * self.layers

    def request_blocks(self, tokens: int, batched: int) -> int:
        """Return the most blocks that one request of `tokens` tokens holds at a time.

        A window keeps its own tokens and those of the batch that is being computed, `batched`.
        """
        return sum(self._group_blocks(window, tokens, batched) for window in self.windows)

    def _group_blocks(self, window: int | None, tokens: int, batched: int) -> int:
        if window is None:
            return ceil_div(tokens, self.block_size)
        return ceil_div(min(window - 1 + batched, tokens), self.block_size) + 1


def token_bytes(shape: Shape, gpus: int, dtype: str) -> int:
    """Return the bytes of one token in one layer, on each of the `gpus` that share it."""
    if shape.latent:  # one vector for all heads, which every GPU keeps whole
        return _vector_bytes(shape.latent.rank + shape.latent.rope, dtype)
    return 2 * local_kv_heads(shape, gpus) * _vector_bytes(shape.head_size, dtype)


def _vector_bytes(values: int, dtype: str) -> int:
    if dtype == "nvfp4":  # 4 bits, and 8 for 16 of them: nvfp4_kv_cache_full_dim of torch_utils.py
        return max(1, values // 2 + values // 16)
    return values * KV_DTYPE_BYTES[dtype]


def local_kv_heads(shape: Shape, gpus: int) -> int:
    """Return the heads of keys and values that each of `gpus` holds; a head is never divided."""
    return max(1, shape.kv_heads // gpus)


def kv_dtype(shape: Shape, asked: str) -> str:
    """Return the data type of the cache: `asked`, or for `auto` the checkpoint's or the model's."""
    return (shape.kv_dtype or shape.dtype) if asked == "auto" else asked


def cache_of(
    shape: Shape, layout: Layout, *, dtype: str, block_size: int, hybrid: bool = True
) -> tuple[Cache, ...]:
    """Return the cache of each pipeline stage.

    Without `hybrid`, layers with a window keep all tokens, as full attention does.
    """
    groups = _groups(shape.windows if hybrid or _is_uniform(shape) else (None,) * shape.layers)
    token = token_bytes(shape, layout.tensor, dtype)
    windows = tuple(shape.windows[group[0]] if hybrid else None for group in groups)
    return tuple(
        Cache(block_size, token, _widest(groups, layers), windows)
        for layers in stages(shape.layers, layout.pipeline)
    )


def _is_uniform(shape: Shape) -> bool:
    return len(set(shape.windows)) == 1


def _groups(windows: tuple[int | None, ...]) -> list[list[int]]:
    kinds: dict[int | None, list[int]] = {}
    for layer, window in enumerate(windows):
        kinds.setdefault(window, []).append(layer)
    least, most = min(map(len, kinds.values())), max(map(len, kinds.values()))
    size = most if most < least * _PADDING_LIMIT else least
    groups = []
    for layers in kinds.values():
        count = ceil_div(len(layers), size)
        groups += [layers[start::count] for start in range(count)]
    return groups


def _widest(groups: list[list[int]], layers: range) -> int:
    """Return the layers of the largest group on a stage, to which the others are padded."""
    return max(sum(layer in layers for layer in group) for group in groups)
