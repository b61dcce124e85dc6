"""What an image takes: tokens of the context, and memory while an encoder reads it.

A model's config and that of its image processor decide how many tokens an image of a size has.
Sources: the processing and image processing files of each model in transformers 5.19, and for the
largest item that vLLM reads when it profiles, the file of the model in vLLM 0.33 (models/).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from math import ceil, floor, isqrt, sqrt
from typing import NamedTuple

from tulu_cli.plan.activation import Batch
from tulu_cli.plan.encoders import parts, patches
from tulu_cli.plan.fields import (
    Config,
    FieldError,
    number,
    one_size,
    part,
    ratio,
    whole_numbers,
)
from tulu_cli.plan.shape import Sight
from tulu_cli.plan.values import ceil_div
from tulu_cli.text import told

# The most images that vLLM takes in a prompt unless told otherwise (config/multimodal.py).
_MOST_IMAGES = 999


def item_tokens(sight: Sight, context: int) -> int:
    """Return the tokens of the largest image or video that vLLM reads when it profiles."""
    if not sight.frames:
        return sight.most
    pairs = min(sight.pairs, context // sight.frames)
    return max(sight.most, sight.frames * max(1, pairs))


class Profile(NamedTuple):
    """What vLLM reads of images at once when it profiles, and the bytes that it takes.

    It reads `items` of the largest images or videos, each of which has `tokens`. `reading` are the
    bytes at the widest moment of the encoder, `output` those that it leaves while the language
    model runs.
    """

    items: int
    tokens: int
    reading: int
    output: int


def profile(sight: Sight, batch: Batch, context: int, size: int) -> Profile:
    """Return what vLLM reads when it profiles with a context of so many tokens.

    `size` is the bytes of a value. The number of items is that of vllm/multimodal/
    encoder_budget.py, whose budget is that of a batch, or of one item. In a layer, two tensors of
    its width are alive, and the feed-forward network or queries, keys and values before and after
    their rotation, which GPUs share.
    """
    tokens = item_tokens(sight, context)
    in_prompt = max(1, min(_MOST_IMAGES, context // tokens))
    items = max(1, min(batch.tokens // tokens, batch.sequences * in_prompt))
    read = items * ceil_div(sight.patches * tokens, sight.most)
    layer = max(sight.alive * sight.inner, 6 * sight.width) // batch.gpus
    reading = read * (2 * sight.width + layer) * size
    return Profile(items, tokens, reading, items * tokens * sight.kept * size)


class _Layers(NamedTuple):
    """The keys of the sizes of an encoder's layers, and the values alive in its network."""

    width: str = "hidden_size"
    inner: str | None = "intermediate_size"
    alive: int = 2


def _sight(
    vision: Config,
    layers: _Layers,
    most: int,
    tokens: Callable[[int, int], int],
    read: int,
    kept: int,
) -> Sight:
    width = number(vision, layers.width)
    if layers.inner:
        inner = number(vision, layers.inner)
    else:
        inner = int(width * ratio(vision, "mlp_ratio", 4))
    return Sight(most, tokens, read, width, inner, layers.alive, kept)


def _view_tokens(whole: Config, vision: Config) -> int:
    """Return the tokens of one view of LLaVA: its patches, with or without the class token."""
    found = patches(vision)
    if vision.get("model_type") == "clip_vision_model":
        found += 1
    named = whole.get("vision_feature_select_strategy") or "default"
    return found - 1 if named == "default" else found


def llava(whole: Config, processor: Config) -> Sight:
    """Return the sight of LLaVA, whose images have one size, or that of Pixtral."""
    vision, hidden = parts(whole)
    if vision.get("model_type") == "pixtral":
        return _pixtral(vision, 1, hidden, processor)
    tokens = _view_tokens(whole, vision)
    return _sight(vision, _Layers(), tokens, lambda *_: tokens, patches(vision) + 1, hidden)


def _pixtral(vision: Config, merge: int, hidden: int, processor: Config) -> Sight:
    """Return the sight of Pixtral: an image is made smaller until its longest side fits.

    There is a token at the end of each row.
    """
    size = processor.get("size")
    longest = one_size(vision, "image_size")
    if isinstance(size, Mapping) and size.get("longest_edge") is not None:
        longest = number(size, "longest_edge")
    unit = one_size(vision, "patch_size") * merge

    def grid(height: int, width: int) -> tuple[int, int]:
        most = max(height, width) / longest
        if most > 1:
            height, width = floor(height / most), floor(width / most)
        return max(1, ceil_div(height, unit)), max(1, ceil_div(width, unit))

    def tokens(height: int, width: int) -> int:
        rows, columns = grid(height, width)
        return rows * (columns + 1)

    rows, columns = grid(longest, longest)
    read, most = rows * columns * merge**2, tokens(longest, longest)
    return _sight(vision, _Layers(alive=3), most, tokens, read, hidden)


def mistral3(whole: Config, processor: Config) -> Sight:
    """Return the sight of Mistral 3, which merges patches."""
    vision, hidden = parts(whole)
    return _pixtral(vision, number(whole, "spatial_merge_size"), hidden, processor)


def gemma3(whole: Config, processor: Config) -> Sight:
    """Return the sight of Gemma 3: one number of tokens, with pan and scan one for each crop too.

    A square image has no crops.
    """
    vision, hidden = parts(whole)
    tokens, views = number(whole, "mm_tokens_per_image"), 1
    if processor.get("do_pan_and_scan"):
        views += number(processor, "pan_and_scan_max_num_crops", 4)
    read = views * patches(vision)
    return _sight(vision, _Layers(), views * tokens, lambda *_: tokens, read, hidden)


def paligemma(whole: Config, _processor: Config) -> Sight:
    """Return the sight of PaliGemma: a token a patch."""
    vision, hidden = parts(whole)
    tokens = patches(vision)
    return _sight(vision, _Layers(), tokens, lambda *_: tokens, tokens, hidden)


def _grids(whole: Config) -> list[tuple[int, int]]:
    """Return the sizes in pixels to which LLaVA-NeXT brings an image, empty if none is named."""
    found = whole.get("image_grid_pinpoints")
    sizes = found if isinstance(found, list) else []
    each = [whole_numbers({"image_grid_pinpoints": one}, "image_grid_pinpoints") for one in sizes]
    if any(len(one) != 2 or min(one) < 1 for one in each):
        raise FieldError(f"has image_grid_pinpoints of {told(found)}")
    return [(one[0], one[1]) for one in each]


def _best_grid(height: int, width: int, grids: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the size that keeps the most of an image, and of those the one that wastes least.

    Source: select_best_resolution of transformers' image_processing_utils.py.
    """

    def worth(grid: tuple[int, int]) -> tuple[int, int]:
        scale = min(grid[1] / width, grid[0] / height)
        kept = min(int(width * scale) * int(height * scale), height * width)
        return kept, kept - grid[0] * grid[1]

    return max(grids, key=worth)


def _any_resolution(whole: Config, most_tiles: int | None) -> Sight | None:
    """Return the sight of LLaVA-NeXT: a whole view, and tiles without their padding.

    Each row of tokens has one more at its end. With `most_tiles`, what has more tokens than so many
    tiles is made smaller.
    """
    vision, hidden = parts(whole)
    grids, side = _grids(whole), one_size(vision, "image_size")
    across, base = isqrt(patches(vision)), _view_tokens(whole, vision)
    if not grids:
        return None

    def tokens(height: int, width: int) -> int:
        grid = _best_grid(height, width, grids)
        rows, columns = (max(1, length // side) * across for length in grid)
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        if most_tiles:
            shrink = sqrt(rows * columns / (most_tiles * across**2))
            if shrink > 1.1:
                rows, columns = int(rows // shrink), int(columns // shrink)
        return base + rows * columns + rows

    sizes = [*grids, *([_ONEVISION_LARGEST] if most_tiles else [])]
    largest = max(sizes, key=lambda size: tokens(*size))
    grid = _best_grid(*largest, grids)
    views = 1 + (grid[0] // side) * (grid[1] // side)
    read = views * (patches(vision) + 1)
    return _sight(vision, _Layers(), tokens(*largest), tokens, read, hidden)


_MOST_TILES = re.compile(r"anyres_max_([1-9]\d{0,4})", re.ASCII)
# The height and width of the image that vLLM profiles LLaVA-OneVision with.
_ONEVISION_LARGEST = (944, 1153)


def llava_next(whole: Config, _processor: Config) -> Sight | None:
    """Return the sight of LLaVA-NeXT, None for a config without the sizes of its tiles."""
    return _any_resolution(whole, None)


def llava_onevision(whole: Config, _processor: Config) -> Sight | None:
    """Return the sight of LLaVA-OneVision, None for a config without the sizes of its tiles."""
    named = str(whole.get("vision_aspect_ratio") or "anyres_max_9")
    most = _MOST_TILES.fullmatch(named)
    if most is None:
        raise FieldError(f"has a vision_aspect_ratio of {told(named)}")
    return _any_resolution(whole, int(most[1]))


def _pixels(processor: Config) -> tuple[int, int] | None:
    """Return the fewest and the most pixels of an image of Qwen-VL, None where they are not said.

    Old files name them alone, new ones as edges of a size.
    """
    size = processor.get("size")
    edges = size if isinstance(size, Mapping) else {}
    found = []
    for alone, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        named = next((one for one in (processor, edges) if one.get(alone) is not None), None)
        if named is None and edges.get(edge) is None:
            return None
        found.append(number(edges, edge) if named is None else number(named, alone))
    least, most = found
    return least, max(least, most)


def _resized(height: int, width: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """Return height and width of an image in units. Source: smart_resize of transformers."""
    rows, columns = round(height / unit) * unit, round(width / unit) * unit
    if rows * columns > most:
        shrink = sqrt(height * width / most)
        rows, columns = (max(unit, floor(side / shrink / unit) * unit) for side in (height, width))
    elif rows * columns < least:
        grow = sqrt(least / (height * width))
        rows, columns = (ceil(side * grow / unit) * unit for side in (height, width))
    return rows // unit, columns // unit


# No side of an image of Qwen-VL may be longer than so many times the other.
_LONGEST_SIDE = 200


def _most_in_a_grid(limit: int) -> int:
    """Return the most tokens, at most `limit`, that rows and columns of an image make."""
    for count in range(limit, 0, -1):
        rows = next(side for side in range(isqrt(count), 0, -1) if count % side == 0)
        if count // rows <= _LONGEST_SIDE * rows:
            return count
    return 1


def _qwen(whole: Config, processor: Config, layers: _Layers, kept: int, pairs: int) -> Sight | None:
    """Return the sight of Qwen-VL, whose images keep their size between two limits."""
    vision = part(whole, "vision_config")
    limits = _pixels(processor)
    if limits is None:
        return None
    merge = number(vision, "spatial_merge_size", 2)
    unit = one_size(vision, "patch_size") * merge

    def tokens(height: int, width: int) -> int:
        rows, columns = _resized(height, width, unit, *limits)
        return rows * columns

    most = _most_in_a_grid(max(1, limits[1] // unit**2))
    found = _sight(vision, layers, most, tokens, most * merge**2, kept)
    return found._replace(frames=most if pairs else 0, pairs=pairs)


# vLLM profiles Qwen2-VL with up to 14 frames, of which two make one.
_PAIRS = 7


def qwen2_vl(whole: Config, processor: Config) -> Sight | None:
    """Return the sight of Qwen2-VL, None without its image processor's limits."""
    kept = number(part(whole, "vision_config"), "hidden_size")
    return _qwen(whole, processor, _Layers("embed_dim", None), kept, _PAIRS)


def qwen2_5_vl(whole: Config, processor: Config) -> Sight | None:
    """Return the sight of Qwen2.5-VL, None without its image processor's limits."""
    kept = number(part(whole, "vision_config"), "out_hidden_size")
    return _qwen(whole, processor, _Layers(alive=3), kept, _PAIRS)


def qwen3_vl(whole: Config, processor: Config) -> Sight | None:
    """Return the sight of Qwen3-VL and 3.5, None without its image processor's limits.

    The output of each layer that is looked at is kept too. By the defaults of its processor, two
    frames of a video have fewer tokens than an image.
    """
    vision = part(whole, "vision_config")
    looked_at = len(whole_numbers(vision, "deepstack_visual_indexes"))
    kept = number(vision, "out_hidden_size") * (1 + looked_at)
    return _qwen(whole, processor, _Layers(), kept, 0)


def _canvases(most: int) -> Iterator[tuple[int, int]]:
    """Yield the rows and columns of at most `most` tiles, in the order of Llama 4's processor."""
    by_ratio: dict[float, list[tuple[int, int]]] = {}
    for tiles in range(most, 0, -1):
        for rows in range(1, tiles + 1):
            if tiles % rows == 0:
                by_ratio.setdefault(rows / (tiles // rows), []).append((rows, tiles // rows))
    for each in by_ratio.values():
        yield from each


def llama4(whole: Config, processor: Config) -> Sight:
    """Return the sight of Llama 4: tiles, a whole view beside several, and marks between them."""
    vision, hidden = parts(whole)
    side, most = one_size(vision, "image_size"), number(processor, "max_patches", 16, most=1024)
    shuffled = round(1 / ratio(vision, "pixel_shuffle_ratio", 0.5) ** 2)
    tile, canvases = patches(vision) // shuffled, list(_canvases(most))

    def canvas(height: int, width: int) -> tuple[int, int]:
        scales = {each: min(each[0] * side / height, each[1] * side / width) for each in canvases}
        larger = [scale for scale in scales.values() if scale >= 1]
        chosen = min(larger) if larger else max(scales.values())
        fitting = [each for each in canvases if scales[each] == chosen]
        return min(fitting, key=lambda each: each[0] * each[1])

    def tokens(height: int, width: int) -> int:
        rows, columns = canvas(height, width)
        tiles = rows * columns
        split = tiles * tile + tiles if tiles > 1 else 0  # a mark behind each tile
        return split + tile + 3  # the whole view between three marks

    read = (most + (most > 1)) * (patches(vision) + 1)
    return _sight(vision, _Layers(), tokens(most * side, side), tokens, read, hidden)
