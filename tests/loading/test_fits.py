"""What is refused before a model is loaded, and what never stands in the way."""

from dataclasses import replace
from typing import Any

import pytest

from tulu_cli.errors import NoEngine
from tulu_cli.loading.fits import Wish, refusal, spelled
from tulu_cli.machine import Gpu, Machine
from tulu_cli.plan.read import built_in_config

GIB = 2**30
CONFIG = built_in_config("8B", "RLVR") or {}
WISH = Wish("8b", CONFIG, "vllm", 8192)


def machine(*free: float, total: float = 24.0, memory: int = 64) -> Machine:
    gpus = (Gpu(i, "card", int(total * GIB), int(size * GIB)) for i, size in enumerate(free))
    return Machine(tuple(gpus), memory * GIB)


def test_what_fits_is_not_refused() -> None:
    assert refusal(WISH, machine(23.8)) is None


def test_what_does_not_fit_is_refused_with_the_nearest_setting() -> None:
    sentence = refusal(replace(WISH, max_model_len=131072), machine(23.8))
    assert sentence is not None
    assert "--max-model-len" in sentence
    assert "--force" in sentence
    assert sentence.startswith("8b does not fit: ")


def test_only_a_server_is_planned_with_the_activations_of_one() -> None:
    room, eager = machine(17.7, total=17.9), {"enforce_eager": True}
    assert refusal(replace(WISH, engine_args=eager), room) is None
    assert refusal(replace(WISH, engine_args=eager, eager=False), room) is None
    assert refusal(replace(WISH, engine_args=eager, as_server=True), room) is not None


def test_a_setting_of_the_engine_is_spelled_as_it_is_given_here() -> None:
    assert spelled("--kv-cache-dtype fp8") == "--engine-arg kv_cache_dtype=fp8"
    assert spelled("--eager") == "--engine-arg enforce_eager=true"
    assert spelled("-tp 2") == "-tp 2"


def test_memory_that_others_hold_counts() -> None:
    sentence = refusal(WISH, machine(12.0))
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
        {"tensor_parallel_size": 3, "pipeline_parallel_size": 7},
        {"tensor_parallel_size": 2},
    ],
)
def test_what_is_not_known_does_not_block(changes: dict[str, Any]) -> None:
    wish = replace(WISH, max_model_len=131072, **changes)
    assert refusal(wish, machine(4.0)) is None


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_without_a_gpu_only_what_the_memory_cannot_hold_is_refused(engine: str) -> None:
    wish = replace(WISH, engine=engine, max_model_len=131072)
    assert refusal(wish, machine(memory=16)) is None
    sentence = refusal(wish, machine(memory=8))
    assert sentence is not None
    assert "14.96 GiB" in sentence
    assert refusal(replace(wish, device="cpu"), machine(1.0, memory=16)) is None


def test_transformers_may_use_all_gpus_or_the_one_that_is_named() -> None:
    wish = replace(WISH, engine="transformers")
    assert refusal(wish, machine(10.0, 10.0)) is None
    assert refusal(replace(wish, device="cuda:1"), machine(10.0, 10.0)) is not None
    assert refusal(replace(wish, dtype="float32"), machine(10.0, 10.0)) is not None


def test_the_engines_own_arguments_that_are_known_count() -> None:
    wish = replace(WISH, max_model_len=60_000, engine_args={"kv_cache_dtype": "fp8"})
    assert refusal(replace(wish, engine_args={}), machine(23.8)) is not None
    assert refusal(wish, machine(23.8)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"quantization": "bitsandbytes"},
        {"config": CONFIG | {"quantization_config": {"quant_method": "bitsandbytes"}}},
    ],
    ids=["asked for", "of the checkpoint"],
)
def test_bitsandbytes_needs_its_plug_in_on_vllm_alone(changes: dict[str, Any]) -> None:
    wish, here = replace(WISH, **changes), machine(23.8)
    with pytest.raises(NoEngine, match="pip install vllm-bnb-plugin"):
        refusal(wish, here)
    assert refusal(replace(wish, engine="transformers"), here) is None
    assert refusal(wish, replace(here, packages={"vllm-bnb-plugin": "0.0.3"})) is None
