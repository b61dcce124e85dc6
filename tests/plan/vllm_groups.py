"""Ask vLLM's own functions how they divide a cache into groups and blocks.

    python -m tests.plan.vllm_groups < CASES

Each line of stdin is a JSON object with the layers of a model, and gets a line of stdout.
"""

import json
import os
import sys
from types import SimpleNamespace
from typing import Any

BLOCK = 16


def specifications(case: dict[str, Any]) -> dict[str, Any]:
    """The layers as vLLM's specifications, with blocks and pages aligned as its platforms do.

    The alignment is a part of a function that needs a whole engine
    (_align_hybrid_block_size of vllm/platforms/interface.py), and is repeated here.
    """
    import torch
    from vllm.utils.math_utils import cdiv
    from vllm.v1 import kv_cache_interface as kv

    attention: dict[str, Any] = {}
    for layer in case["layers"]:
        common = {"block_size": 1, "dtype": torch.bfloat16}
        if layer["kind"] == "latent":
            common |= {"num_kv_heads": 1, "head_size": layer["size"]}
            attention[layer["layer"]] = kv.MLAAttentionSpec(**common)
        elif layer["kind"] != "state":
            common |= {"num_kv_heads": layer["heads"], "head_size": layer["size"]}
            common |= {"head_size_v": layer["value_size"]}
            if layer["kind"] == "window":
                made: Any = kv.SlidingWindowSpec(**common, sliding_window=layer["window"])
            elif layer["kind"] == "chunk":
                made = kv.ChunkedLocalAttentionSpec(**common, attention_chunk_size=layer["chunk"])
            else:
                made = kv.FullAttentionSpec(**common)
            attention[layer["layer"]] = made
    token = max((spec.page_size_bytes for spec in attention.values()), default=0)
    states = {
        layer["layer"]: {
            "shapes": tuple(map(tuple, layer["shapes"])),
            "dtypes": (torch.bfloat16, getattr(torch, layer["dtype"])),
            "mamba_cache_mode": "align",
        }
        for layer in case["layers"]
        if layer["kind"] == "state"
    }
    block = BLOCK
    if states and token:
        pages = (kv.MambaSpec(block_size=-1, **one).page_size_bytes for one in states.values())
        step = 128 if case["latent"] else BLOCK
        block = max(block, step * cdiv(max(pages), step * token))
    found = {}
    for layer in case["layers"]:
        name = layer["layer"]
        if name in states:
            found[name] = kv.MambaSpec(
                block_size=block, page_size_padded=block * token or None, **states[name]
            )
        else:
            found[name] = kv.replace(attention[name], block_size=block)
    return found


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """What vLLM makes of the layers of a case."""
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.kv_cache_layout import KVCacheLayout

    config = SimpleNamespace(
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        cache_config=SimpleNamespace(
            get_resolved_kv_cache_layout=lambda: KVCacheLayout.LBNHC, mamba_cache_mode="align"
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        model_config=SimpleNamespace(max_model_len=case["tokens"]),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1),
        max_in_flight_tokens=case["batched"],
        speculative_config=None,
    )
    specs = specifications(case)
    groups = kv_cache_utils.get_kv_cache_groups(config, specs)
    layout = KVCacheLayout.LBNHC
    size = kv_cache_utils._get_kv_cache_bytes_per_block(groups, layout)
    blocks = 0
    for group in groups:
        spec = group.kv_cache_spec
        if hasattr(spec, "max_memory_usage_pages"):
            blocks += spec.max_memory_usage_pages(config)
        else:
            blocks += -(-spec.max_memory_usage_bytes(config) // spec.page_size_bytes)
    return {
        "groups": len(groups),
        "block_bytes": size,
        "block_size": min(group.kv_cache_spec.block_size for group in groups),
        "request_blocks": blocks,
    }


def main() -> None:
    """Answer line by line."""
    os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    for line in sys.stdin.read().splitlines():
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
