"""What is refused before a model is loaded, and what never stands in the way."""

from pathlib import Path
from typing import Any

import pytest

from tulu_cli.engines.base import EngineSpec
from tulu_cli.errors import NoEngine
from tulu_cli.loading.fits import prefill_bound, refusal, spelled
from tulu_cli.machine import Gpu, Machine
from tulu_cli.plan.read import built_in_config

GIB = 2**30
CONFIG = built_in_config("8B", "RLVR") or {}


def machine(*free: float, total: float = 24.0, memory: int = 64) -> Machine:
    gpus = (Gpu(i, "card", int(total * GIB), int(size * GIB)) for i, size in enumerate(free))
    return Machine(tuple(gpus), memory * GIB)


def refused(
    here: Machine,
    *,
    engine: str = "vllm",
    config: dict[str, Any] = CONFIG,
    max_model_len: int = 8192,
    **values: Any,
) -> str | None:
    tokenizer: Any = None
    spec = EngineSpec("8b", Path("8b"), tokenizer, max_model_len, **values)
    return refusal(spec, config, engine, here)


def test_what_fits_is_not_refused() -> None:
    assert refused(machine(23.8)) is None


def test_what_does_not_fit_is_refused_with_the_nearest_setting() -> None:
    sentence = refused(machine(23.8), max_model_len=131072)
    assert sentence is not None
    assert "--max-model-len" in sentence
    assert "--force" in sentence
    assert sentence.startswith("8b does not fit: ")


def test_only_a_server_is_planned_with_the_activations_of_one() -> None:
    here, eager = machine(17.7, total=17.9), {"enforce_eager": True}
    assert refused(here, engine_args=eager) is None
    assert refused(here, engine_args=eager, purpose="scoring") is None
    assert refused(here, engine_args=eager, purpose="server") is not None


def test_only_one_answer_is_planned_without_cuda_graphs() -> None:
    here = machine(17.8, total=18.0)
    assert refused(here) is None
    assert refused(here, purpose="scoring") is not None


def test_a_setting_of_the_engine_is_spelled_as_it_is_given_here() -> None:
    assert spelled("--kv-cache-dtype fp8") == "--engine-arg kv_cache_dtype=fp8"
    assert spelled("--enforce-eager") == "--engine-arg enforce_eager=true"
    assert spelled("-tp 2") == "-tp 2"


def test_memory_that_others_hold_counts() -> None:
    sentence = refused(machine(12.0))
    assert sentence is not None
    assert "other programs" in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"architectures": ["FooForCausalLM"]}},
        {"config": {}},
        {"quantization": "unheard-of"},
        {"engine": "fake"},
        {"engine_args": {"cpu_offload_gb": 30}},
        {"engine_args": {"max_num_seqs": "many"}},
        {"engine_args": {"block_size": 0}},
        {"engine_args": {"kv_cache_dtype": "fp8_inc"}},
        {"engine_args": {"enforce_eager": "yes"}},
        {"tensor_parallel_size": 3, "pipeline_parallel_size": 7},
        {"tensor_parallel_size": 2},
    ],
)
def test_what_is_not_known_does_not_block(changes: dict[str, Any]) -> None:
    assert refused(machine(4.0), **{"max_model_len": 131072} | changes) is None


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_without_a_gpu_only_what_the_memory_cannot_hold_is_refused(engine: str) -> None:
    asked: dict[str, Any] = {"engine": engine, "max_model_len": 131072}
    assert refused(machine(memory=16), **asked) is None
    sentence = refused(machine(memory=8), **asked)
    assert sentence is not None
    assert "14.96 GiB" in sentence
    assert refused(machine(1.0, memory=16), device="cpu", **asked) is None


def test_transformers_may_use_all_gpus_or_the_one_that_is_named() -> None:
    two = machine(10.0, 10.0)
    assert refused(two, engine="transformers") is None
    assert refused(two, engine="transformers", device="cuda:1") is not None
    assert refused(two, engine="transformers", dtype="float32") is not None


def test_the_engines_own_arguments_that_are_known_count() -> None:
    here = machine(23.8)
    assert refused(here, max_model_len=60_000) is not None
    eight_bits = {"kv_cache_dtype": "fp8"}
    assert refused(here, max_model_len=60_000, engine_args=eight_bits) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"quantization": "bitsandbytes"},
        {"config": CONFIG | {"quantization_config": {"quant_method": "bitsandbytes"}}},
    ],
    ids=["asked for", "of the checkpoint"],
)
def test_bitsandbytes_needs_its_plug_in_on_vllm_alone(changes: dict[str, Any]) -> None:
    here = machine(23.8)
    with pytest.raises(NoEngine, match="pip install vllm-bnb-plugin"):
        refused(here, **changes)
    assert refused(here, engine="transformers", **changes) is None
    plugged = Machine(here.gpus, here.memory_bytes, packages={"vllm-bnb-plugin": "0.0.3"})
    assert refused(plugged, **changes) is None


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_free_memory_for_which_the_8b_is_the_default_model_holds_it(engine: str) -> None:
    assert refused(machine(20.0, total=20.0), engine=engine) is None


def test_the_speed_of_a_known_gpu_bounds_how_fast_prompts_are_read() -> None:
    tokenizer: Any = None
    spec = EngineSpec("8b", Path("8b"), tokenizer, 8192, purpose="server")
    h100 = Machine((Gpu(0, "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB),), 64 * GIB)
    bound = prefill_bound(spec, CONFIG, "vllm", h100)
    # 989 TFLOP/s, and two operations for each of the 7.5 billion weights behind the embeddings.
    assert bound == pytest.approx(989e12 / (2 * 7.5e9), rel=0.02)
    assert prefill_bound(spec, CONFIG, "transformers", h100) is None
    assert prefill_bound(spec, CONFIG, "vllm", machine(23.8)) is None, "a card of no name"
    assert prefill_bound(spec, CONFIG, "vllm", machine()) is None
