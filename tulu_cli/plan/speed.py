"""Upper bounds on speed, from the data sheet of the GPU: no engine can exceed them."""

from functools import cache
from typing import NamedTuple

from tulu_cli.plan.kv import context_bytes
from tulu_cli.plan.tensors import tensors_of
from tulu_cli.plan.values import ceil_div
from tulu_cli.plan.vllm import Estimate, Model

# A sequential read of a good NVMe disk; a network disk reads a tenth of it.
DISK_BYTES_PER_SECOND = 3 * 10**9


class Speed(NamedTuple):
    """Upper bounds in tokens a second, and the least seconds to read the weights from disk.

    `decode` is for one user with an empty context, `decode_all` for all users together with full
    contexts; with a draft all of its tokens are accepted. The three are None for a GPU of which
    only the memory is known.
    """

    decode: float | None
    decode_all: float | None
    prefill: float | None
    load_seconds: float


def bounds(found: Estimate, concurrency: int = 1) -> Speed:
    """Return the bounds for `concurrency` users."""
    stored, used, everything = _count(found.model)
    load = stored / DISK_BYTES_PER_SECOND
    card = found.gpu.card
    if card is None or not used:
        return Speed(None, None, None, load)
    bandwidth = card.bandwidth * 1e9
    layout = found.run.layout
    # A token goes through one stage after the other, and each GPU reads its part of each layer.
    read = sum(rank.weights for rank in found.ranks) * used / everything
    users = ceil_div(concurrency, layout.data)
    contexts = users * _context_bytes(found) / layout.pipeline
    drafts = found.run.drafting.tokens if found.run.drafting else 0
    # The draft is read for each of its tokens, and the model once to check them and add one.
    read += drafts * sum(rank.draft for rank in found.ranks)
    flops = (card.fp8 if found.model.quantization == "fp8" and card.fp8 else card.bf16) * 1e12
    return Speed(
        decode=(1 + drafts) * bandwidth / read,
        decode_all=(1 + drafts) * concurrency * bandwidth / (read + contexts),
        prefill=flops * layout.gpus / (2 * used),
        load_seconds=load,
    )


@cache
def _count(model: Model) -> tuple[int, int, int]:
    """Return the bytes stored, the weights that one token is multiplied with, and all weights."""
    shape = model.shape
    used = everything = 0
    for tensor in model.tensors if model.quantization is None else tensors_of(shape):
        count = tensor.size // shape.dtype_bytes
        everything += count
        if "embed_tokens" in tensor.name and not shape.tied:
            continue
        if ".experts." in tensor.name and shape.experts:
            count = count * shape.experts.active // shape.experts.count
        used += count
    return sum(tensor.size for tensor in model.tensors), used, everything


def _context_bytes(found: Estimate) -> int:
    """Return the bytes that one user's full context has in the cache of a GPU."""
    layout, shape = found.run.layout, found.model.shape
    return context_bytes(shape, found.run.max_model_len, layout.tensor, found.kv_dtype)
