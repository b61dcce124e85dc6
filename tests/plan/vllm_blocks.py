"""Start the real vLLM on this CPU with dummy weights, and print what its KV cache came to.

    python -m tests.plan.vllm_blocks DIRECTORY DTYPE BLOCK_SIZE MAX_MODEL_LEN BATCHED_TOKENS

It runs in a process of its own: vLLM keeps the state of one engine in its process.
"""

import json
import os
import sys


def main(
    directory: str, dtype: str, block_size: str, max_model_len: str, batched_tokens: str
) -> None:
    os.environ |= {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TORCHDYNAMO_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    from vllm import LLM

    engine = LLM(
        directory,
        dtype=dtype,
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        block_size=int(block_size),
        max_model_len=int(max_model_len),
        max_num_batched_tokens=int(batched_tokens),
    )
    cache = engine.llm_engine.vllm_config.cache_config
    found = {
        "blocks": cache.num_gpu_blocks,
        "block_size": cache.block_size,
        "tokens": cache.kv_cache_size_tokens,
        "concurrency": cache.kv_cache_max_concurrency,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
