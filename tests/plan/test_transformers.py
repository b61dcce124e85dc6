"""What transformers really allocates on this CPU, against the plan: weights and cache."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache
from transformers.cache_utils import QuantizedLayer
from transformers.integrations.accelerate import _get_device_map
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.plan.test_families import CASES, TEXT, named
from tests.plan.test_families import built as small_model
from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.placement import parts_of, placed
from tulu_cli.plan.read import model_of
from tulu_cli.plan.transformers import Generation, activation_peak, cache_bytes, plan_transformers
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


class Packed(QuantizedLayer):  # type: ignore[misc]
    """transformers' layer over a stand-in for quanto: packed bytes, and a scale and a shift."""

    def _quantize(self, tensor: torch.Tensor, axis: int) -> Any:
        groups = tensor.reshape(-1, self.q_group_size)
        data = torch.zeros(groups.numel() * self.nbits // 8, dtype=torch.uint8)
        return data, groups[:, :1].clone(), groups[:, :1].clone(), tensor.shape

    def _dequantize(self, q_tensor: Any) -> torch.Tensor:
        return torch.zeros(q_tensor[-1], dtype=self.keys.dtype)


@pytest.mark.parametrize("bits", [4, 2])
def test_a_quantized_cache_has_its_most_before_the_newest_tokens_are_quantized(bits: int) -> None:
    config = KINDS["qwen3"] | {"num_hidden_layers": 1}
    shape, layer = model_of("qwen3", config, dtype="bfloat16").shape, Packed(nbits=bits)
    real = {}
    for held in range(1, 300):
        one = torch.zeros(2, 2, 1, 64, dtype=torch.bfloat16)
        layer.update(one, one)
        quantized = (*layer._quantized_keys[:3], *layer._quantized_values[:3])
        real[held] = storages([layer.keys, layer.values, *quantized])
    planned = {held: cache_bytes(shape, Generation(held + 1, 2, cache_bits=bits)) for held in real}
    assert all(real[held] <= planned[held] for held in range(1, 300))
    assert [held for held in real if real[held] == planned[held] and held > 127] == [128, 256]


def test_a_quantized_cache_is_for_full_attention_only() -> None:
    card, plan = Gpu("card", GIB, GIB), Generation(64, cache_bits=4)
    with pytest.raises(UsageError, match="window does not"):
        plan_transformers(model_of("window", KINDS["window"]), plan, [card])
    whole = model_of("llama", LLAMA, dtype="float32")
    small = plan_transformers(whole, Generation(4096, cache_bits=4), [card])
    assert small.cache < plan_transformers(whole, Generation(4096), [card]).cache // 4
    unpacked = 2 * 4096 * 2 * 2 * 32 * 4  # twice the keys and values of a layer: 2 heads of 32
    forward = activation_peak(whole.shape, Generation(4096)).expected
    assert small.activation.expected == forward + unpacked


def most_held(run: Any) -> int:
    """The most bytes of tensors that are alive at once while something runs."""
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
        run()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = [each for each in events if each.name() == "[memory]"]
    ordered = sorted(changes, key=lambda each: each.start_ns())
    return max(itertools.accumulate(int(each.nbytes()) for each in ordered))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", ["llama", "window"])
def test_what_a_prompt_takes_is_what_is_allocated(kind: str, batch: int) -> None:
    """With a window it is mostly the mask of tokens by tokens, as the prompt is longer."""
    config = KINDS[kind] | {"max_position_embeddings": 2048}
    model, tokens = built(config, "bfloat16"), 1536
    ids = torch.ones(batch, tokens - 1, dtype=torch.long)

    def run() -> None:
        with torch.inference_mode():
            model(ids, past_key_values=DynamicCache(config=model.config), logits_to_keep=1)

    shape, plan = model_of(kind, config, dtype="bfloat16").shape, Generation(tokens, batch)
    planned, real = activation_peak(shape, plan), most_held(run)
    cache = cache_bytes(shape, plan)
    assert planned.low + cache < real < planned.high + cache
    assert real == pytest.approx(planned.expected + cache, rel=0.15)


def test_beams_multiply_the_cache() -> None:
    shape = model_of("llama", LLAMA, dtype="float32").shape
    assert cache_bytes(shape, Generation(10, 2, 3)) == cache_bytes(shape, Generation(10, 6))


@pytest.mark.parametrize(("size", "verdict"), [(24 * GIB, Verdict.FITS), (GIB // 4, Verdict.NOT)])
def test_the_verdict_for_transformers(size: int, verdict: Verdict) -> None:
    model = model_of("llama", LLAMA, dtype="float32")
    plan = plan_transformers(model, Generation(64), [Gpu("card", size, size)])
    assert plan.judgement.verdict is verdict
    assert plan.total.low < plan.total.expected < plan.total.high


def kept(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor of numbers inside of a cache; a counter of tokens is none."""
    if isinstance(value, torch.Tensor):
        yield from [value] if value.is_floating_point() else []
    elif isinstance(value, dict):
        for each in value.values():
            yield from kept(each)
    elif isinstance(value, list):
        for each in value:
            yield from kept(each)
    elif type(value).__name__.endswith(("Cache", "Layer")):
        yield from kept(vars(value))


# Of each kind of cache: windows, borrowed keys, latent attention, and states beside them.
MIXED = (
    *("Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3nForCausalLM", "Gemma4ForCausalLM"),
    *("Gemma4ForCausalLM-1", "GptOssForCausalLM", "Olmo3ForCausalLM", "Cohere2ForCausalLM"),
    *(
        "DeepseekV3ForCausalLM",
        "DeepseekV32ForCausalLM",
        "Glm4MoeLiteForCausalLM",
        "KimiLinearForCausalLM",
    ),
    *("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "OlmoHybridForCausalLM"),
    *("GraniteMoeHybridForCausalLM", "BambaForCausalLM", "NemotronHForCausalLM"),
    *("FalconH1ForCausalLM", "JambaForCausalLM", "Lfm2ForCausalLM"),
)


@pytest.mark.parametrize("name", MIXED)
def test_a_cache_of_several_kinds_is_what_is_allocated(name: str) -> None:
    architecture, kind, changes = dict(zip(named(CASES), CASES, strict=True))[name]
    changes = TEXT | changes | ({"sliding_window": 16} if name in WINDOWED else {})
    config, _ = small_model(architecture, kind, changes)
    described = CONFIG_MAPPING[kind](**changes)
    model = getattr(transformers, architecture)._from_config(described, dtype=torch.bfloat16)
    cache, batch = DynamicCache(config=model.config), 2
    with torch.inference_mode():
        for length in (PROMPT, 1):
            ids = torch.ones(batch, length, dtype=torch.long)
            model.eval()(ids, past_key_values=cache, use_cache=True)
    shape = model_of(name, config, engine="transformers", dtype="bfloat16").shape
    assert cache_bytes(shape, Generation(PROMPT + 2, batch)) == storages(kept(cache))


WINDOWED = MIXED[:8]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "free",
    [(90, 90), (25, 90), (90, 25), (40, 30, 90), (30, 30, 30), (12, 12), (20, 9, 20), (5, 60)],
)
def test_layers_are_where_device_map_puts_them(free: tuple[int, ...], tied: bool) -> None:
    """Sizes are in hundredths of the model; the number after the last GPU is the memory."""
    config = LLAMA | {"num_hidden_layers": 24, "tie_word_embeddings": tied}
    described = AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(described, dtype=torch.bfloat16)
    model.tie_weights()
    planned = model_of("llama", config, engine="transformers", dtype="bfloat16")
    sizes = [share * weight_bytes(planned) // 100 for share in free]
    memory: dict[int | str, int | str] = {**dict(enumerate(sizes)), "cpu": 2**40}
    real = _get_device_map(model, "auto", memory, None)
    devices = {}
    for layer in range(24):
        (device,) = {
            device
            for name, device in real.items()
            if f"model.layers.{layer}.".startswith(f"{name}." if name else "")
        }
        devices[layer] = len(free) if device == "cpu" else device
    parts = parts_of(planned)
    where = placed(parts, sizes)
    found = {part.layer: gpu for part, gpu in zip(parts, where, strict=True)}
    assert {layer: found[layer] for layer in range(24)} == devices


def test_a_plan_over_cards_of_different_sizes_looks_at_each() -> None:
    model = model_of("llama", LLAMA | {"num_hidden_layers": 24}, dtype="float32")
    big, small = (Gpu(name, size, size) for name, size in (("big", 4 * GIB), ("small", GIB)))
    plan = plan_transformers(model, Generation(64), [big, small])
    assert plan.judgement.verdict is Verdict.FITS
    assert sum(share.weights for share in plan.shares) == plan.weights == weight_bytes(model)
    assert sum(share.cache for share in plan.shares) == cache_bytes(model.shape, Generation(64))
    assert all(share.weights for share in plan.shares)
    tiny = small._replace(free_bytes=GIB // 4)
    judged = plan_transformers(model, Generation(64), [big, tiny]).judgement
    assert judged.verdict is Verdict.NOT
    assert "on GPU 1 (small)" in judged.reason


def test_weights_that_no_gpu_has_room_for_are_said_to_be_elsewhere() -> None:
    model = model_of("llama", LLAMA | {"num_hidden_layers": 24}, dtype="float32")
    card = Gpu("card", GIB, weight_bytes(model) // 4)
    plan = plan_transformers(model, Generation(64), [card, card])
    assert plan.offloaded > weight_bytes(model) // 3
    assert plan.weights == weight_bytes(model)
    assert "would be in the machine's memory" in plan.judgement.reason
