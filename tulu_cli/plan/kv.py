"""The KV cache of vLLM: blocks of tokens, groups of layers, and the blocks of a request.

Source: vllm/v1/core/kv_cache_utils.py, from 0.33 on kv_cache_planning.py, and for the page of
recurrent layers _align_hybrid_block_size of vllm/platforms/interface.py. Layers of one kind form a
group; where a model mixes kinds, groups are padded to one size and share one pool of blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tulu_cli.plan.shape import DTYPE_BYTES, KV_DTYPE_BYTES, Kept, Keys, Shape, State, Vector
from tulu_cli.plan.sharding import Layout, stages
from tulu_cli.plan.values import ceil_div

# Groups whose sizes differ more are not padded (_get_kv_cache_groups_uniform_page_size).
_PADDING_LIMIT = 1.5
_KERNEL_BLOCK = 16  # tokens: the least that attention kernels take
_LATENT_BLOCK = 128  # tokens: beside recurrent layers, those of latent attention take so many


class Group(NamedTuple):
    """Layers that share their blocks: `block_size` tokens each, of a window, a chunk or all.

    With `states`, a request has that many blocks, however long it is.
    """

    block_size: int
    window: int | None = None
    chunk: int | None = None
    states: int | None = None

    def request_blocks(self, tokens: int, batched: int) -> int:
        """Return the most blocks of a request, of which `batched` tokens are computed at once."""
        if self.states:
            return self.states
        if self.chunk:
            return ceil_div(min(self.chunk + batched, tokens), self.block_size)
        if self.window:
            return ceil_div(min(self.window - 1 + batched, tokens), self.block_size) + 1
        return ceil_div(tokens, self.block_size)


class Cache(NamedTuple):
    """The division of a model's KV cache into blocks on one GPU.

    A block holds `block_size` tokens of a group's layers, padding included, in `block_bytes`; of
    the widest group these are `layers`, and a token of one of them takes `token_bytes`.
    `state_bytes` are those of the states of one layer before they are padded to its page, 0 for
    none.
    """

    block_size: int
    block_bytes: int
    groups: tuple[Group, ...]
    token_bytes: int
    layers: int
    state_bytes: int = 0

    def request_blocks(self, tokens: int, batched: int) -> int:
        """Return the most blocks that one request of `tokens` tokens holds at a time.

        A window keeps its own tokens and those of the batch that is being computed, `batched`.
        """
        return sum(group.request_blocks(tokens, batched) for group in self.groups)


def token_bytes(kept: Kept, gpus: int, dtype: str) -> int:
    """Return the bytes of one token in one layer, on each of the `gpus` that share it."""
    if isinstance(kept, State):
        return 0
    if isinstance(kept, Vector):  # every GPU keeps it whole
        return kept.fixed_bytes or _vector_bytes(kept.size, dtype)
    heads = local_kv_heads(kept.heads, gpus)
    return heads * (_vector_bytes(kept.size, dtype) + _vector_bytes(kept.value_size, dtype))


def state_bytes(state: State, gpus: int, dtype: str) -> int:
    """Return the bytes of a state on each of the `gpus` that share a layer.

    Groups that do not divide are copied to each: extra_groups_for_head_shards of mamba_utils.py.
    """
    groups = state.groups if state.groups % gpus == 0 else gpus
    channels = (state.channels + groups * state.group_channels) // gpus
    convolution = channels * (state.kernel - 1) * DTYPE_BYTES[dtype]
    return convolution + state.recurrent // gpus * DTYPE_BYTES[state.recurrent_dtype or dtype]


def _vector_bytes(values: int, dtype: str) -> int:
    if dtype == "nvfp4":  # 4 bits, and 8 for 16 of them: nvfp4_kv_cache_full_dim of torch_utils.py
        return max(1, values // 2 + values // 16)
    return values * KV_DTYPE_BYTES[dtype]


def local_kv_heads(heads: int, gpus: int) -> int:
    """Return the heads of keys and values that each of `gpus` holds; a head is never divided."""
    return max(1, heads // gpus)


def kv_dtype(shape: Shape, asked: str) -> str:
    """Return the data type of the cache: `asked`, or for `auto` the checkpoint's or the model's."""
    return (shape.kv_dtype or shape.dtype) if asked == "auto" else asked


class _Page(NamedTuple):
    """What one layer has in a block."""

    layer: int
    group: Group
    kind: Kept
    size: int


def cache_of(
    shape: Shape,
    layout: Layout,
    *,
    dtype: str,
    block_size: int,
    hybrid: bool = True,
    states: int = 2,
    draft: Shape | None = None,
) -> tuple[Cache, ...]:
    """Return the cache of each pipeline stage; there is one where a `draft` model is in it too.

    Without `hybrid`, layers with a window keep all tokens, as full attention does. `states` are
    the blocks that a request has of each group of recurrent layers: two where prefixes are cached,
    else one.
    """
    gpus = layout.tensor
    decoder = shape.decoder + (draft.decoder if draft else ())
    kept = [(index, one) for index, layer in enumerate(decoder) for one in layer.kept]
    held = [state_bytes(one, gpus, shape.dtype) for _, one in kept if isinstance(one, State)]
    each = max((token_bytes(one, gpus, dtype) for _, one in kept), default=0)
    if held and each:
        block_size = _aligned(block_size, max(held), each, latent=shape.latent is not None)
    pages = []
    for layer, one in kept:
        if isinstance(one, State):
            size = max(block_size * each, state_bytes(one, gpus, shape.dtype))
            pages.append(_Page(layer, Group(block_size, states=states), one, size))
            continue
        window, chunk = (one.window, one.chunk) if isinstance(one, Keys) and hybrid else (None,) * 2
        size = block_size * token_bytes(one, gpus, dtype)
        pages.append(_Page(layer, Group(block_size, window, chunk), one, size))
    groups = _groups(pages)
    found = []
    for layers in stages(len(decoder), layout.pipeline):
        here = [[page for page in group if page.layer in layers] for group in groups]
        widest = max(here, key=lambda group: sum(page.size for page in group), default=[])
        found.append(
            Cache(
                min((group[0].group.block_size for group in groups), default=block_size),
                max(1, sum(page.size for page in widest)),
                tuple(group[0].group for group in groups),
                each,
                len(widest),
                max(held, default=0),
            )
        )
    return tuple(found)


def _aligned(block_size: int, state: int, token: int, *, latent: bool) -> int:
    """Return the tokens of a block whose page of attention is as large as a state."""
    step = max(_LATENT_BLOCK if latent else _KERNEL_BLOCK, block_size)
    return max(block_size, step * ceil_div(state, step * token))


def _groups(pages: Sequence[_Page]) -> list[list[_Page]]:
    """Return the pages in groups that share a block table."""
    if len({page.group for page in pages}) <= 1:
        return [list(pages)] if pages else []
    most = max(page.size for page in pages)
    kinds: dict[tuple[Group, Kept], list[_Page]] = {}
    for page in pages:
        scaled = _scaled(page, most)
        kinds.setdefault((scaled.group, scaled.kind), []).append(scaled)
    least, largest = min(map(len, kinds.values())), max(map(len, kinds.values()))
    size = largest if largest < least * _PADDING_LIMIT else least
    groups = []
    for alike in kinds.values():
        count = ceil_div(len(alike), size)
        groups += [alike[start::count] for start in range(count)]
    return groups


def _scaled(page: _Page, most: int) -> _Page:
    """Return a page as large as the largest: of more tokens where that is even, else padded."""
    ratio = most // page.size
    group = page.group
    if most % page.size == 0 and group.states is None:
        group = group._replace(block_size=group.block_size * ratio)
    return page._replace(group=group, size=most)


def context_bytes(shape: Shape, tokens: int, gpus: int, dtype: str) -> int:
    """Return the bytes that a sequence of `tokens` has in the cache of each of `gpus`."""
    total = 0
    for one in (one for layer in shape.decoder for one in layer.kept):
        if isinstance(one, State):
            total += state_bytes(one, gpus, shape.dtype)
        else:
            total += span(one, tokens) * token_bytes(one, gpus, dtype)
    return total


def span(kept: Kept, tokens: int) -> int:
    """Return for how many of `tokens` tokens a layer keeps keys and values."""
    if not isinstance(kept, Keys):
        return tokens
    return min(kept.window or tokens, kept.chunk or tokens, tokens)
