"""How quantized weights are stored."""

from typing import Any

import pytest

from tests.plan.tiny import LLAMA, tiny
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.plan.quantization import (
    NAMES,
    Quantization,
    named_quantization,
    read_quantization,
    stored,
)


def size(how: Quantization | None, rows: int = 256, columns: int = 512) -> int:
    parts = stored(how, "model.layers.0.mlp.up_proj.weight", (rows, columns))
    assert parts is not None
    total = 0
    for _, dimensions, bits in parts:
        count = 1
        for dimension in dimensions:
            count *= dimension
        total += count * bits // 8
    return total


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fp8", 256 * 512 + 4),
        ("int8", 256 * 512 + 256 * 4),
        ("awq", 256 * 512 // 2 + 4 * 256 * 2 + 4 * 256 // 2),
        ("gptq", 256 * 512 // 2 + 4 * 256 * 2 + 4 * 256 // 2 + 512 * 4),
        ("bitsandbytes", 256 * 512 // 2 + 256 * 512 // 64 * 4),
        ("gguf-q8_0", 256 * 512 * 34 // 32),
        ("gguf-q4_k", 256 * 512 * 144 // 256),
    ],
)
def test_the_bytes_of_one_weight(method: str, expected: int) -> None:
    assert size(named_quantization(method)) == expected


WEIGHTS = 256 * 512


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, WEIGHTS + 4),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, WEIGHTS // 2 + WEIGHTS // 16),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, WEIGHTS + 256 * 4),
        ({"num_bits": 8, "strategy": "tensor"}, WEIGHTS + 4),
        ({"num_bits": 8, "strategy": "channel"}, WEIGHTS + 256 * 4),
        ({"num_bits": 4, "type": "int", "group_size": 128}, WEIGHTS // 2 + 256 * 4 * 2),
        ({"num_bits": 4, "type": "float", "group_size": 16}, WEIGHTS // 2 + WEIGHTS // 16),
    ],
)
def test_the_bytes_of_one_weight_by_config_json(config: dict[str, Any], expected: int) -> None:
    if "quant_method" not in config:
        groups = {"group_0": {"weights": config}}
        config = {"quant_method": "compressed-tensors", "config_groups": groups}
    assert size(read_quantization({"quantization_config": config})) == expected


def test_every_name_makes_a_smaller_model() -> None:
    from tulu_cli.planning import model_of

    config = LLAMA | {"hidden_size": 256, "intermediate_size": 512, "head_dim": 32}
    plain = sum(tensor.size for tensor in model_of("plain", config).tensors)
    for name in NAMES:
        model = model_of(name, config, quantization=name)
        assert sum(tensor.size for tensor in model.tensors) < plain


def test_the_vocabulary_and_what_is_skipped_stay_as_they_are() -> None:
    config = {
        "quant_method": "fp8",
        "modules_to_not_convert": ["lm_head", "self_attn", "re:.*0.mlp"],
    }
    model = tiny(quantization_config=config)
    bits = {tensor.name: tensor.bits for tensor in model.tensors}
    assert bits["model.embed_tokens.weight"] == bits["lm_head.weight"] == 16
    assert bits["model.layers.1.self_attn.q_proj.weight"] == 16
    assert bits["model.layers.0.mlp.up_proj.weight"] == 16
    assert bits["model.layers.1.mlp.up_proj.weight"] == 8


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"quant_method": "magic"}, TuluError),
        ({}, None),
        ({"quant_method": "awq", "bits": 0}, BadInput),
        ({"quant_method": "gptq", "group_size": -1}, BadInput),
        ({"quant_method": "compressed-tensors"}, BadInput),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": 3}}, BadInput),
        ({"quant_method": "modelopt", "quant_algo": "INT1"}, TuluError),
        ("fp8", BadInput),
    ],
)
def test_a_config_that_is_broken_or_not_known(config: Any, error: type[Exception] | None) -> None:
    if error is None:
        assert read_quantization({"quantization_config": config}) is None
        return
    with pytest.raises(error):
        read_quantization({"quantization_config": config})


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match="takes one of fp8"):
        named_quantization("fp9")
