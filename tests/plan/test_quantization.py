"""How quantized weights are stored."""

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from tests.plan.test_families import CASES, built
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
    stored,
    without_plugin,
)
from tulu_cli.plan.quantization_config import read_quantization
from tulu_cli.plan.read import built_in_config, model_of, plan_model, release
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.sharding import Layout
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
        ({"num_bits": 4, "type": "int", "group_size": -1}, WEIGHTS // 2 + 256 * 2),
        ({"quant_method": "gptq", "group_size": -1}, WEIGHTS // 2 + 256 * 2 + 128 + 512 * 4),
        ({"quant_method": "awq", "q_group_size": -1, "w_bit": 4}, WEIGHTS // 2 + 256 * 2 + 128),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, WEIGHTS + WEIGHTS // 32),
        ({"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, WEIGHTS + 2 * 4 * 4),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4"}, WEIGHTS // 2 + WEIGHTS // 16),
        (
            {"quant_method": "bitsandbytes", "bnb_4bit_use_double_quant": True},
            WEIGHTS // 2 + WEIGHTS // 64 + WEIGHTS // 64 // 256 * 4,
        ),
        (
            {"quant_method": "auto-round", "bits": 4, "group_size": 128},
            WEIGHTS // 2 + 4 * 256 * 2 + 4 * 256 // 2 + 512 * 4,
        ),
        (
            {"quant_method": "auto-round", "bits": 4, "group_size": 128}
            | {"packing_format": "auto_round:auto_awq"},
            WEIGHTS // 2 + 4 * 256 * 2 + 4 * 256 // 2,
        ),
        ({"quant_method": "hqq", "nbits": 4, "group_size": 64}, WEIGHTS // 2 + WEIGHTS // 64 * 4),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}},
            },
            WEIGHTS + 256 * 4,
        ),
        (
            {
                "quant_method": "torchao",
                "quant_type": {
                    "default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}
                },
            },
            WEIGHTS // 2 + WEIGHTS // 32 * 4,
        ),
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
        ({"quant_method": "gptq", "group_size": 0}, BadInput),
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


def test_rules_for_single_layers_are_those_of_gptqmodel_and_autoround() -> None:
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    bits = parts_of(
        gptq | {"dynamic": {"-:.*self_attn": {}, r"+:.*layers\.0\.mlp\.down": {"bits": 8}}}
    )
    assert bits["self_attn.q_proj.weight"] == 16
    assert bits["mlp.up_proj.qweight"] == 32
    shapes = shapes_of(gptq | {"dynamic": {r".*down_proj": {"bits": 8}}})
    assert shapes["mlp.down_proj.qweight"] == (160, 64 * 8 // 32)
    assert shapes["mlp.up_proj.qweight"] == (64, 160 * 4 // 32)
    inc = {"quant_method": "auto-round", "bits": 4, "group_size": 16}
    inc |= {"extra_config": {"model.layers.0.mlp.up_proj": {"bits": 16}, ".*o_proj": {"bits": 8}}}
    shapes = shapes_of(inc)
    assert shapes["mlp.up_proj.weight"] == (160, 64)
    assert shapes["self_attn.o_proj.qweight"] == (64, 64 * 8 // 32)
    assert shapes["mlp.gate_proj.qweight"] == (64, 160 * 4 // 32)


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    model = tiny(quantization_config=config)
    return {t.name.removeprefix("model.layers.0."): t.shape for t in model.tensors}


def test_each_layer_of_mixed_precision_has_its_own_algorithm() -> None:
    layers = {
        "model.layers.0.mlp.up_proj": {"quant_algo": "NVFP4"},
        "model.layers.0.mlp.down_proj": {"quant_algo": "FP8"},
    }
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    bits = parts_of(mixed | {"quantized_layers": layers})
    assert bits["mlp.up_proj.weight_packed"] == bits["mlp.down_proj.weight"] == 8
    assert bits["mlp.gate_proj.weight"] == 16
    with pytest.raises(BadInput, match="quantized_layers"):
        tiny(quantization_config=mixed)


@pytest.mark.parametrize(
    "skipped",
    [
        "model.vision_tower",
        "vision_tower",
        "re:.*vision_tower.*",
        "re:^model.vision_tower",
        "*vision_tower*",
    ],
)
def test_an_encoder_is_skipped_by_each_of_its_names(skipped: str) -> None:
    config, _ = small("Gemma3ForConditionalGeneration")
    config["quantization_config"] = {"quant_method": "fp8", "ignore": [skipped]}
    bits = {tensor.name: tensor.bits for tensor in model_of("seeing", config).tensors}
    assert bits["vision_tower.encoder.layers.0.mlp.fc1.weight"] == 16
    assert bits["model.language_model.layers.0.mlp.up_proj.weight"] == 8


@pytest.mark.parametrize("at", ["model.language_model.layers.0.mlp", "language_model.model.*.mlp"])
def test_a_language_model_behind_an_encoder_is_skipped_by_each_of_its_names(at: str) -> None:
    config, _ = small("Gemma3ForConditionalGeneration")
    config["quantization_config"] = {"quant_method": "fp8", "ignore": [at]}
    bits = {tensor.name: tensor.bits for tensor in model_of("seeing", config).tensors}
    assert bits["model.language_model.layers.0.mlp.up_proj.weight"] == 16
    assert bits["model.language_model.layers.0.self_attn.q_proj.weight"] == 8


def test_convolutions_embeddings_and_routers_stay_plain() -> None:
    for architecture in ("Qwen3_5MoeForConditionalGeneration", "GraniteMoeHybridForCausalLM"):
        config, _ = small(architecture)
        model = model_of("mixed", config, quantization="fp8")
        plain = {tensor.name for tensor in model.tensors if tensor.bits != 8}
        for name in (tensor.name for tensor in model.tensors):
            if name.endswith(("conv1d.weight", "router.weight", "mlp.gate.weight")):
                assert name in plain
            if "patch_embed" in name or "pos_embed" in name or "embed_tokens" in name:
                assert name in plain
            if name.endswith(("in_proj.weight", "in_proj_qkv.weight", "experts.down_proj.weight")):
                assert name not in plain


def small(architecture: str) -> tuple[dict[str, Any], Any]:
    """The config of a small model of test_families, and the model."""
    return built(*next(case for case in CASES if case[0] == architecture))


def test_experts_in_4_bit_floats_are_those_that_transformers_makes() -> None:
    import torch
    from transformers.integrations.mxfp4 import Mxfp4GptOssExperts

    case = next(case for case in CASES if case[0] == "GptOssForCausalLM")
    config, model = built(*case[:2], case[2] | {"hidden_size": 128, "intermediate_size": 64})
    config["quantization_config"] = {"quant_method": "mxfp4"}
    with torch.device("meta"):
        layer = Mxfp4GptOssExperts(model.config)
    real = sum(each.numel() * each.itemsize for each in layer.parameters() if each.dim() > 2)
    found = model_of("gpt-oss", config, dtype="bfloat16").tensors
    mine = [each for each in found if ".layers.0.mlp.experts." in each.name]
    assert sum(each.size for each in mine if "mxfp4_blocks" in each.name) == real
    # A byte for 32 numbers, of which two are a byte.
    assert sum(each.size for each in mine if "mxfp4_scales" in each.name) == real // 16
    assert {each.bits for each in mine if "mxfp4" not in each.name} == {16}


def test_padded_experts_are_those_of_a_log() -> None:
    """gpt-oss-120b on an H100, vLLM 0.10.1: 65.9651 GiB. Its sizes are in transformers' config."""
    layers = ["sliding_attention", "full_attention"] * 18
    config = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss"}
    config |= {"layer_types": layers, "torch_dtype": "bfloat16"}
    model = model_of("gpt-oss-120b", config | {"quantization_config": {"quant_method": "mxfp4"}})
    plan = estimate(model, parse_gpu("h100")[0], Run(1024), rules_of((0, 10, 1)))
    assert plan.ranks[0].weights / 2**30 == pytest.approx(65.9651, rel=0.001)
    halves = Run(1024)._replace(layout=Layout(2))
    on_two = estimate(model, parse_gpu("h100")[0], halves, rules_of((0, 10, 1)))
    # A half of the width, 1,440, is padded to 1,536: more than a half of 2,944.
    assert on_two.ranks[0].weights > plan.ranks[0].weights / 2 * 1.03


def test_hqq_is_loaded_by_older_releases_only() -> None:
    config = {"quant_method": "hqq", "nbits": 4, "group_size": 16}
    model = tiny(quantization_config=config)
    assert without_plugin("mine", model.quantization, (0, 14, 0), {}) is None
    assert "--engine transformers" in str(
        without_plugin("mine", model.quantization, (0, 15, 0), {})
    )
