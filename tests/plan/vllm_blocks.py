"""Start the real vLLM on this CPU with dummy weights; print its log, and its KV cache.

    python -m tests.plan.vllm_blocks < CASES

Each line of stdin is a JSON object of arguments for vLLM's LLM, and gets a line of stdout. vLLM
keeps the state of one engine in its process, so each has a fork of one that has imported it.
"""

import gc
import json
import os
import sys
from typing import Any

SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}


def cache_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """The size of an engine's KV cache."""
    from vllm import LLM

    engine = LLM(load_format="dummy", skip_tokenizer_init=True, enforce_eager=True, **arguments)
    cache = engine.llm_engine.vllm_config.cache_config
    return {
        "blocks": cache.num_gpu_blocks,
        "block_size": cache.block_size,
        "tokens": cache.kv_cache_size_tokens,
        "concurrency": cache.kv_cache_max_concurrency,
    }


def main() -> None:
    """One engine after the other."""
    os.environ |= SETTINGS
    from vllm import LLM  # noqa: F401  # once for all

    gc.freeze()  # vLLM collects garbage many times, and each time would look at all of that
    for line in sys.stdin.read().splitlines():
        child = os.fork()
        if child == 0:
            print(json.dumps(cache_of(json.loads(line))), flush=True)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(f"This failed: {line}")


if __name__ == "__main__":
    main()
