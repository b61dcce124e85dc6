"""How quantized weights are stored."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from tests.plan.tiny import LLAMA, tiny
from tulu_cli.cli.completion import KINDS
from tulu_cli.commands._options import Quantization as QuantizationOption
from tulu_cli.commands.plan import plan
from tulu_cli.engines.transformers.engine import QUANTIZATIONS
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.quantization import (
    NAMES,
    VLLM_METHODS,
    Quantization,
    named_quantization,
    read_quantization,
    stored,
    without_plugin,
)
from tulu_cli.plan.read import built_in_config, model_of, release
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Run, estimate


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
        ({"quant_method": "fp8", "weight_block_size": {"rows": 128}}, BadInput),
        ({"quant_method": "fp8", "ignore": ["re:["]}, BadInput),
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


def methods_of_vllm() -> set[str]:
    """The quantization methods of the vLLM that is installed, read and not imported: it is slow."""
    spec = find_spec("vllm")
    assert spec
    assert spec.origin
    source = Path(spec.origin).parent / "model_executor/layers/quantization/__init__.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "QuantizationMethods":
            assert isinstance(node.value, ast.Subscript)
            return set(ast.literal_eval(node.value.slice))
    raise AssertionError(f"{source} names its methods in another way now")


def test_the_methods_that_vllm_is_said_to_have_are_its_own() -> None:
    methods = methods_of_vllm()
    assert set(VLLM_METHODS.values()) <= methods
    rules = rules_of(release())
    assert (rules.bitsandbytes, rules.gguf) == ("bitsandbytes" in methods, "gguf" in methods)
    others = set(NAMES) - set(VLLM_METHODS)
    assert others == {name for name in others if name.startswith(("bitsandbytes", "gguf-"))}


def offered(annotation: Any, engine: str) -> set[str]:
    """The names of quantizations that the help of an option has for an engine."""
    _, option = get_args(annotation)
    (names,) = re.findall(rf"([^:;]+) on {engine}", option.help, re.IGNORECASE)
    return set(re.findall(r"[\w-]+\d\w*|awq|gptq|bitsandbytes(?!-)", names)) - {"nf4"}


def test_help_offers_each_engine_what_it_has() -> None:
    assert offered(QuantizationOption, "vllm") == set(VLLM_METHODS) - {"int8"}
    assert offered(QuantizationOption, "transformers") == set(QUANTIZATIONS)
    of_plan = get_type_hints(plan, include_extras=True)["quantization"]
    assert offered(of_plan, "vllm") == set(VLLM_METHODS)
    assert offered(of_plan, "transformers") == {*QUANTIZATIONS, "gguf-q4_k"}


def test_completions_offer_what_an_engine_has() -> None:
    words = {one.word for one in KINDS["METHOD"].fixed()}
    assert words == {*VLLM_METHODS, *QUANTIZATIONS} - {"int8"}


def test_advice_for_vllm_names_only_what_it_has() -> None:
    model = model_of("70b", built_in_config("70B", "RLVR") or {})
    advised = set()
    for gpu, length in (("h100", 8192), ("a100-80gb", 8192)):
        found = estimate(model, parse_gpu(gpu)[0], Run(length), rules_of(NEWEST))
        advised |= {change.option for change in plan_of(found).changes}
    names = {one.split()[1] for one in advised if one.startswith("--quantization")}
    assert names
    assert names <= set(VLLM_METHODS)


@pytest.mark.parametrize(
    ("quantization", "version", "packages", "plugin"),
    [
        ("bitsandbytes", (0, 33, 0), (), "vllm-bnb-plugin"),
        ("bitsandbytes-int8", (0, 28, 0), ("vllm",), "vllm-bnb-plugin"),
        ("bitsandbytes", (0, 33, 0), ("vllm-bnb-plugin",), None),
        ("bitsandbytes", (0, 27, 1), (), None),
        ("gguf-q4_k", (0, 24, 0), ("vllm-bnb-plugin",), "vllm-gguf-plugin"),
        ("gguf-q4_k", (0, 23, 0), (), None),
        ("fp8", (0, 33, 0), (), None),
        ("compressed-tensors", (0, 33, 0), (), None),
        (None, (0, 33, 0), (), None),
    ],
)
def test_what_needs_a_plug_in(
    quantization: str | None, version: Any, packages: tuple[str, ...], plugin: str | None
) -> None:
    why = without_plugin("org/name", quantization, version, packages)
    assert (why is None) == (plugin is None)
    assert why is None or f"(pip install {plugin})" in why
