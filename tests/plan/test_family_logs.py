"""Start-up logs of architectures that are not Llama's relatives, against the plan.

Each figure is one that vLLM printed. Sizes that a config leaves out are transformers' defaults for
the model_type, and the printed figures confirm them.
"""

from typing import Any, NamedTuple

import pytest

from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.kv import cache_of
from tulu_cli.plan.read import model_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.text import explanation
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import rules_of
from tulu_cli.plan.vllm import Estimate, Run, estimate

SEED = {
    "architectures": ["SeedOssForCausalLM"],
    "model_type": "seed_oss",
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 80,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 155136,
    "max_position_embeddings": 524288,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
LLAVA = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
    "text_config": {"model_type": "mistral", "vocab_size": 32064},
    "torch_dtype": "bfloat16",
}
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "mxfp4"},
}
GLM4 = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "num_layers": 40,
    "num_attention_heads": 32,
    "multi_query_group_num": 2,
    "kv_channels": 128,
    "padded_vocab_size": 151552,
    "seq_length": 131072,
    "add_qkv_bias": True,
    "torch_dtype": "bfloat16",
}
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
    "quantization_config": {
        "quant_method": "auto-round",
        "bits": 4,
        "group_size": 128,
        "packing_format": "auto_round:auto_gptq",
    },
}
MINISTRAL = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "text_config": {
        "model_type": "ministral3",
        "hidden_size": 5120,
        "intermediate_size": 16384,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 131072,
    },
    "torch_dtype": "bfloat16",
}
MISTRAL_SMALL = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "text_config": {
        "model_type": "mistral",
        "hidden_size": 5120,
        "intermediate_size": 32768,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 131072,
        "sliding_window": None,
    },
    "torch_dtype": "bfloat16",
}


class Log(NamedTuple):
    """What was started, and what it printed: GiB of weights and of cache, and tokens of cache."""

    config: dict[str, Any]
    gpu: str
    size: float
    version: tuple[int, int, int]
    run: Run
    weights: float | None = None
    cache: float | None = None
    tokens: int | None = None


LOGS = {
    "llava-1.6-mistral-7b": Log(
        LLAVA,
        "h100",
        79.19,
        (0, 10, 2),
        Run(4096, utilization=0.9, max_num_batched_tokens=16384),
        14.0786,
        55.15,
        451_744,
    ),
    "mistral-small-3.2-24b": Log(
        MISTRAL_SMALL, "h100", 79.18, (0, 11, 0), Run(16000, utilization=0.95), 44.76
    ),
    "gpt-oss-120b-0.10": Log(GPT_OSS, "h100", 79.18, (0, 10, 1), Run(131072), 65.9651),
    "gpt-oss-120b-0.11": Log(
        GPT_OSS,
        "h100",
        79.18,
        (0, 11, 0),
        Run(131072, utilization=0.95, max_num_batched_tokens=1024),
        cache=1.71,
    ),
    "seed-oss-36b": Log(
        SEED,
        "a100",
        79.14,
        (0, 11, 2),
        Run(65536, layout=Layout(2), utilization=0.9),
        tokens=290_448,
    ),
    "glm-4-9b": Log(
        GLM4, "h200", 139.8, (0, 19, 2), Run(8192, utilization=0.6), 17.56, 63.82, 1_673_040
    ),
    "qwen3-0.6b-autoround": Log(
        QWEN3,
        "a100-40gb",
        39.39,
        (0, 19, 1),
        Run(8192, utilization=0.9, max_num_batched_tokens=8192),
        0.52,
        34.3,
        321_088,
    ),
}


def planned(log: Log) -> Estimate:
    gpu, _ = parse_gpu(log.gpu)
    size = int(log.size * GIB)
    gpu = gpu._replace(total_bytes=size, free_bytes=size)
    return estimate(model_of("logged", log.config), gpu, log.run, rules_of(log.version))


@pytest.mark.parametrize("name", LOGS)
def test_the_plan_is_what_the_log_prints(name: str) -> None:
    log = LOGS[name]
    plan = planned(log)
    if log.weights:
        assert plan.ranks[0].weights / GIB == pytest.approx(log.weights, rel=0.005)
    if log.cache:
        assert plan.tightest.kv.expected / GIB == pytest.approx(log.cache, rel=0.02)
    if log.tokens:
        assert plan.tokens(plan.blocks.expected) == pytest.approx(log.tokens, rel=0.02)


@pytest.mark.parametrize(
    ("config", "gib", "gpus", "tokens"),
    [(MINISTRAL, 52.36, 2, 686_320), (LLAVA, 55.15, 1, 451_744)],
)
def test_the_printed_memory_makes_the_printed_tokens(
    config: dict[str, Any], gib: float, gpus: int, tokens: int
) -> None:
    shape = model_of("logged", config).shape
    (cache,) = cache_of(shape, Layout(gpus), dtype="bfloat16", block_size=16)
    found = int(gib * GIB) // cache.block_bytes * cache.block_size
    assert found == pytest.approx(tokens, rel=0.005 / gib, abs=16)


def test_the_peak_of_a_model_that_sees_has_the_output_of_its_encoder() -> None:
    """LLaVA-NeXT prints 1.97 GiB, of which five images of 2,928 tokens take 0.11 GiB."""
    plan = planned(LOGS["llava-1.6-mistral-7b"])
    assert plan.images is not None
    assert plan.images[:2] == (5, 2928)
    assert plan.tightest.activation.expected / GIB == pytest.approx(1.97, abs=0.02)


def test_a_hybrid_model_has_the_page_of_its_state() -> None:
    """Qwen3.6-35B-A3B with an fp8 cache: 2.95 GiB, 75,456 tokens, 3.87x for 65,536 (vLLM 0.20.0).

    Its states are in float32, as its config.json says, and prefixes were cached.
    """
    shape = hybrid((0, 20, 0)).model.shape
    (cache,) = cache_of(shape, Layout(), dtype="fp8", block_size=16)
    assert cache.block_size == 2096
    assert cache.state_bytes == 2096 * cache.token_bytes
    blocks = int(2.95 * GIB) // cache.block_bytes
    assert blocks // len(cache.groups) * cache.block_size == 75_456
    assert round(blocks / cache.request_blocks(65536, 8192), 2) == 3.87


def hybrid(version: tuple[int, int, int]) -> Estimate:
    text = {"model_type": "qwen3_5_moe_text", "mamba_ssm_dtype": "float32"}
    config = {"architectures": ["Qwen3_5MoeForConditionalGeneration"], "text_config": text}
    config |= {"model_type": "qwen3_5_moe", "torch_dtype": "bfloat16"}
    return estimate(model_of("hybrid", config), parse_gpu("h200")[0], Run(8192), rules_of(version))


def test_cached_prefixes_cost_a_second_state() -> None:
    older, newer = hybrid((0, 25, 0)), hybrid((0, 26, 0))
    assert older.caches[0].block_size == newer.caches[0].block_size == 1056
    assert older.request_blocks == 8 + 3  # 8,192 tokens, and a state of each of three groups
    assert newer.request_blocks == 8 + 3 * 2


def test_the_explanation_has_the_page_of_a_state() -> None:
    steps = "\n".join(explanation(hybrid((0, 33, 0)), (0, 33, 0)))
    state, page = "2,146,304 bytes", "1056 tokens = 2,162,688 bytes"
    assert f"a layer's state of a sequence = {state}, in a page of {page}" in steps
