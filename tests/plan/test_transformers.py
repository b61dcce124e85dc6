"""What transformers really allocates on this CPU, against the plan: weights and cache."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.read import model_of
from tulu_cli.plan.transformers import Generation, cache_bytes, plan_transformers
from tulu_cli.plan.values import GIB, Verdict
from tulu_cli.plan.weights import weight_bytes

PROMPT = 33
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 1003,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
KINDS = {
    "llama": LLAMA,
    "tied": LLAMA | {"tie_word_embeddings": True},
    "qwen3": LLAMA | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 64},
    "window": LLAMA
    | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "head_dim": 32,
        "sliding_window": 16,
    },
}
DTYPES = ("bfloat16", "float16", "float32", "float64")


def built(config: dict[str, Any], dtype: str) -> Any:
    described = AutoConfig.for_model(**config)
    return AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype)).eval()


def storages(tensors: Any) -> int:
    """Bytes of the storages behind tensors; one that is shared counts once."""
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in found.values())


def filled(model: Any, batch: int, cache: Any) -> int:
    """The bytes of a cache after a prompt and one more token: a prompt is cut to a window then."""
    with torch.inference_mode():
        for length in (PROMPT, 1):
            ids = torch.ones(batch, length, dtype=torch.long)
            model(ids, past_key_values=cache, use_cache=True)
    return storages(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_that_are_allocated(kind: str, dtype: str) -> None:
    config = KINDS[kind]
    real = storages(built(config, dtype).parameters())
    assert weight_bytes(model_of(kind, config, dtype=dtype)) == real


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["llama", "qwen3", "window"])
def test_a_dynamic_cache_is_what_is_allocated(kind: str, dtype: str, batch: int) -> None:
    config = KINDS[kind]
    model = built(config, dtype)
    real = filled(model, batch, DynamicCache(config=model.config))
    plan = Generation(PROMPT + 2, batch)
    assert cache_bytes(model_of(kind, config, dtype=dtype).shape, plan) == pytest.approx(
        real, rel=0.01
    )


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("kind", ["llama", "window"])
def test_a_static_cache_is_as_long_as_it_may_get(kind: str, batch: int) -> None:
    config = KINDS[kind]
    model = built(config, "float32")
    real = filled(model, batch, StaticCache(config=model.config, max_cache_len=64))
    plan = Generation(64, batch, static=True)
    assert cache_bytes(model_of(kind, config, dtype="float32").shape, plan) == real


def test_beams_multiply_the_cache() -> None:
    shape = model_of("llama", LLAMA, dtype="float32").shape
    assert cache_bytes(shape, Generation(10, 2, 3)) == cache_bytes(shape, Generation(10, 6))


@pytest.mark.parametrize(("size", "verdict"), [(24 * GIB, Verdict.FITS), (GIB // 4, Verdict.NOT)])
def test_the_verdict_for_transformers(size: int, verdict: Verdict) -> None:
    model = model_of("llama", LLAMA, dtype="float32")
    plan = plan_transformers(model, Generation(64), Gpu("card", size, size))
    assert plan.judgement.verdict is verdict
    assert plan.total.low < plan.total.expected < plan.total.high
