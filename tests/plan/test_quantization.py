"""How quantized weights are stored."""

import ast
import json
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
from tulu_cli.models import resolve
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
from tulu_cli.plan.read import built_in_config, model_of, plan_model, release
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.tensors import Header
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
        ({"num_bits": 8, "type": "float", "group_size": 32}, WEIGHTS + WEIGHTS // 32),
        ({"num_bits": 8, "strategy": "block", "block_structure": [128, 128]}, WEIGHTS + 2 * 4 * 4),
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


EIGHT = {"num_bits": 8, "type": "float", "strategy": "channel"}
FOUR = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}


def grouped(*groups: tuple[list[Any], Any], **also: Any) -> dict[str, Any]:
    named = {
        f"group_{i}": {"targets": targets, "weights": weights}
        for i, (targets, weights) in enumerate(groups)
    }
    return {"quant_method": "compressed-tensors", "config_groups": named, **also}


def parts_of(config: dict[str, Any], **changes: Any) -> dict[str, int]:
    """Return the bits of each tensor of the first layer and the head, by the end of its name."""
    model = tiny(quantization_config=config, **changes)
    return {
        tensor.name.removeprefix("model.layers.0.").removeprefix("model."): tensor.bits
        for tensor in model.tensors
        if "layers." not in tensor.name or ".0." in tensor.name
    }


@pytest.mark.parametrize(
    "targets",
    [
        ["re:.*mlp.*"],
        [r"re:.*(gate|up|down)_proj$"],
        ["MergedColumnParallelLinear", "model.layers.0.mlp.down_proj"],
    ],
)
def test_each_layer_is_counted_by_the_group_that_it_falls_into(targets: list[str]) -> None:
    bits = parts_of(grouped((["re:.*self_attn.*"], EIGHT), (targets, FOUR), ignore=["lm_head"]))
    assert bits["self_attn.q_proj.weight"] == 8
    assert {"mlp.up_proj.weight_packed", "mlp.down_proj.weight_packed"} <= bits.keys()
    assert bits["embed_tokens.weight"] == bits["lm_head.weight"] == 16


def test_names_go_before_classes_and_the_rest_stays_plain() -> None:
    bits = parts_of(grouped((["Linear"], EIGHT), (["re:.*down_proj"], FOUR), ignore=["re:.*_attn"]))
    assert bits["self_attn.q_proj.weight"] == bits["lm_head.weight"] == 16
    assert bits["mlp.up_proj.weight"] == 8
    assert "mlp.down_proj.weight_packed" in bits
    one = parts_of(grouped((["re:.*mlp.*"], FOUR)))
    assert one["self_attn.q_proj.weight"] == 16
    assert "lm_head.weight_packed" in parts_of(grouped((["re:.*lm_head"], FOUR)))


@pytest.mark.parametrize(
    ("pattern", "ends"),
    [
        (r"re:.*layers\.\d+\.mlp\.(gate|up|down)_proj$", True),
        (r"re:(model\.)?layers.*[*+(|]?mlp.*experts.*", True),
        (r"re:.*mlp\.", True),
        (r"re:(([a-z.0-9])+)+$", False),
        (r"re:(\w|\d)*!", False),
        (r"re:((a+)b?)*c", False),
        (r"re:(.*)(.*)(.*)(.*)(.*)(.*)!", False),
        ("re:" + "a" * 2000, False),
    ],
)
def test_a_pattern_that_could_be_matched_for_ever_is_not(pattern: str, ends: bool) -> None:
    for config in (
        {"quant_method": "fp8", "modules_to_not_convert": [pattern]},
        grouped(([pattern], EIGHT)),
    ):
        if ends:
            tiny(quantization_config=config)
            continue
        with pytest.raises(TuluError, match=r"which could take for ever to match"):
            tiny(quantization_config=config)


def test_very_many_names_are_looked_up_and_not_tried_one_by_one() -> None:
    names = [
        f"model.layers.{layer}.mlp.experts.{i}.up_proj" for layer in range(300) for i in range(100)
    ]
    config = grouped((names, EIGHT), (["model.layers.1.mlp.up_proj"], FOUR), ignore=names)
    model = tiny(num_hidden_layers=300, quantization_config=config)
    assert "model.layers.1.mlp.up_proj.weight_packed" in {one.name for one in model.tensors}


def test_the_group_of_attention_is_about_the_cache_and_not_about_weights() -> None:
    bits = parts_of(grouped((["LlamaAttention"], None), (["Linear"], EIGHT)))
    assert bits["self_attn.q_proj.weight"] == 8


def test_experts_are_known_by_the_names_of_their_parts() -> None:
    experts = {
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    both = [["Linear"], ["re:.*experts.0.up_proj", "re:.*experts.*.down_proj"]]
    for targets in both:
        bits = parts_of(grouped((targets, FOUR)), **experts)
        assert {f"mlp.experts.{part}_proj.weight_packed" for part in ("gate_up", "down")} <= {*bits}
        assert bits["mlp.gate.weight"] == 16


def test_a_group_that_is_not_understood_is_said_or_counted_by_the_headers() -> None:
    config = LLAMA | {"quantization_config": grouped((["Linear"], {"num_bits": 6, "type": "nf"}))}
    with pytest.raises(TuluError, match=r"6 bits of the type 'nf'.*group_0.*headers"):
        model_of("odd", config)
    headers = [
        Header(f"model.layers.{layer}.mlp.up_proj.weight", "U8", (160, 48)) for layer in range(5)
    ]
    model = model_of("odd", config, headers)
    assert [tensor.size for tensor in model.tensors] == [160 * 48] * 5


SCHEME = {"type": "float", "num_bits": 8, "dynamic": False}
LEGACY = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        (grouped((["Linear"], EIGHT), kv_cache_scheme=SCHEME), "fp8"),
        (grouped((["Linear"], EIGHT), kv_cache_scheme=None), "bfloat16"),
        (grouped((["Linear"], EIGHT)), "bfloat16"),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": SCHEME}, "fp8_e4m3"),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
            "fp8_e4m3",
        ),
        (
            {"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "kv_cache_quant_algo": "nvfp4"},
            "nvfp4",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "INT8"},
            "bfloat16",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": None},
            "bfloat16",
        ),
        (LEGACY, "bfloat16"),
        (
            {**LEGACY, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}},
            "fp8_e4m3",
        ),
        ({"quant_method": "fp8", "kv_cache_scheme": SCHEME}, "bfloat16"),
    ],
)
def test_the_cache_has_the_type_that_the_checkpoint_asks_for(
    config: dict[str, Any], dtype: str
) -> None:
    model = tiny(quantization_config=config)
    found = estimate(model, parse_gpu("24GiB")[0], Run(512), rules_of(NEWEST))
    assert found.kv_dtype == dtype
    values = {"bfloat16": 8 * 2, "nvfp4": 8 // 2 + 8 // 16}.get(dtype, 8)
    assert found.caches[0].token_bytes == 2 * 2 * values
    asked = estimate(model, found.gpu, Run(512, kv_dtype="float16"), found.rules)
    assert asked.kv_dtype == "float16"


def test_eight_bits_are_not_advised_where_the_cache_has_them() -> None:
    config = built_in_config("8B", "Instruct") or {}
    asks = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    gpu, rules = parse_gpu("24GiB")[0], rules_of(NEWEST)
    for own, advised in (({"quant_method": "fp8"}, True), (asks, False)):
        model = model_of("8b", config | {"quantization_config": own})
        found = estimate(model, gpu, Run(8192), rules)
        plan = plan_of(found, plan_of(found).most_requests + 1)
        assert any("fp8" in change.option for change in plan.changes) == advised


def test_a_cache_that_vllm_refuses_is_refused_for_vllm_alone() -> None:
    config = LLAMA | {
        "quantization_config": grouped((["Linear"], EIGHT), kv_cache_scheme={"num_bits": 4})
    }
    with pytest.raises(TuluError, match="4 bits of the type None, which vLLM refuses"):
        model_of("odd", config)
    assert model_of("odd", config, engine="transformers").quantization == "compressed-tensors"


def test_modelopts_own_file_is_read_beside_a_config_without_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(LEGACY))
    model = plan_model(resolve(str(tmp_path)))
    assert model.quantization == "modelopt"
    own = LLAMA | {"quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    assert plan_model(resolve(str(tmp_path))).quantization == "fp8"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (grouped(([7], EIGHT)), BadInput),
        (grouped((["re:["], EIGHT)), BadInput),
        (grouped((["Linear"], None)), BadInput),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": "x"}}},
            BadInput,
        ),
        ({"quant_method": "magic"}, TuluError),
        ({}, None),
        ({"quant_method": "awq", "bits": 0}, BadInput),
        ({"quant_method": "gptq", "group_size": -1}, BadInput),
        ({"quant_method": "compressed-tensors"}, BadInput),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": 3}}, BadInput),
        ({"quant_method": "modelopt", "quant_algo": "INT1"}, TuluError),
        ({"quant_method": "fp8", "weight_block_size": {"rows": 128}}, BadInput),
        ({"quant_method": "fp8", "ignore": ["re:["]}, BadInput),
        ({"quant_method": "fp8", "ignore": ["re:a{99999999999999}"]}, BadInput),
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
