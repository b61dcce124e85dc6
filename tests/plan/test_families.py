"""Each architecture with small numbers, against the model that transformers builds of it.

The model is built on the meta device, which has shapes and no memory.
"""

import itertools
import json
from collections.abc import Iterator
from math import prod
from typing import Any

import pytest

from tools import plan_defaults
from tulu_cli.errors import TuluError
from tulu_cli.plan.architectures import ARCHITECTURES, read_shape
from tulu_cli.plan.families import FAMILIES
from tulu_cli.plan.kv import cache_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.tensors import tensors_of

TEXT: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 130,
    "max_position_embeddings": 512,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LATENT = {
    "kv_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 10,
    "v_head_dim": 12,
    "q_lora_rank": 28,
    "head_dim": 8,
    "num_key_value_heads": 6,
}
ROUTED = {"n_routed_experts": 5, "n_shared_experts": 2, "first_k_dense_replace": 1}
ROUTED |= {"n_group": 1, "topk_group": 1}
INDEXED = {"index_n_heads": 3, "index_head_dim": 16}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 14,
    "linear_conv_kernel_dim": 3,
}
QWEN_MOE = {"num_experts": 5, "shared_expert_intermediate_size": 44}
HALVES = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 64}
MAMBA = {
    "mamba_n_heads": 12,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 18,
    "mamba_expand": 2,
}
KIMI: dict[str, Any] = {"num_heads": 3, "head_dim": 14, "short_conv_kernel_size": 3}
KIMI |= {"full_attn_layers": [2, 4], "kda_layers": [1, 3]}
MIXED = {"layer_types": ["linear_attention", "full_attention"] * 2}
PER_LAYER = {"vocab_size_per_layer_input": 140, "hidden_size_per_layer_input": 12}
VISION: dict[str, Any] = {
    "hidden_size": 56,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "depth": 3,
    "num_heads": 4,
    "out_hidden_size": 96,
    "num_position_embeddings": 36,
}


def sees(vision: dict[str, Any], text: dict[str, Any], **own: Any) -> dict[str, Any]:
    """The config of a model that sees."""
    return {"vision_config": VISION | vision, "text_config": TEXT | text, **own}


# (architecture, model_type, what differs from small numbers)
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("LlamaForCausalLM", "llama", {}),
    ("LlamaForCausalLM", "llama", {"tie_word_embeddings": True, "attention_bias": True}),
    ("LlamaForSequenceClassification", "llama", {"num_labels": 3}),
    ("MistralForCausalLM", "mistral", {}),
    ("Qwen2ForCausalLM", "qwen2", {}),
    ("Qwen3ForCausalLM", "qwen3", {}),
    ("Qwen3MoeForCausalLM", "qwen3_moe", {"num_experts": 5, "mlp_only_layers": [2]}),
    ("Qwen3MoeForCausalLM", "qwen3_moe", {"num_experts": 5, "decoder_sparse_step": 2}),
    ("MixtralForCausalLM", "mixtral", {"num_local_experts": 5}),
    ("OlmoForCausalLM", "olmo", {}),
    ("Olmo2ForCausalLM", "olmo2", {}),
    ("Olmo3ForCausalLM", "olmo3", {}),
    ("OlmoeForCausalLM", "olmoe", {"num_experts": 5, "head_dim": 16}),
    ("FlexOlmoForCausalLM", "flex_olmo", {"num_experts": 5}),
    ("OlmoHybridForCausalLM", "olmo_hybrid", {}),
    ("GemmaForCausalLM", "gemma", {}),
    ("Gemma2ForCausalLM", "gemma2", {}),
    ("Gemma3ForCausalLM", "gemma3_text", {}),
    (
        "Gemma3nForCausalLM",
        "gemma3n_text",
        {
            **HALVES,
            **PER_LAYER,
            "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    (
        "Gemma4ForCausalLM",
        "gemma4_text",
        {
            **HALVES,
            **PER_LAYER,
            "num_kv_shared_layers": 2,
            "global_head_dim": 28,
            "use_double_wide_mlp": True,
        },
    ),
    (
        "Gemma4ForCausalLM",
        "gemma4_text",
        {
            **HALVES,
            "hidden_size_per_layer_input": 0,
            "global_head_dim": 28,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
            "enable_moe_block": True,
            "num_experts": 5,
            "top_k_experts": 2,
        },
    ),
    (
        "Gemma4ForCausalLM",
        "gemma4_text",
        {
            "num_hidden_layers": 12,  # of which transformers writes those that differ, as 05 and 11
            "hidden_size_per_layer_input": 0,
            "global_head_dim": 28,
        },
    ),
    ("Qwen2MoeForCausalLM", "qwen2_moe", QWEN_MOE),
    ("Qwen3NextForCausalLM", "qwen3_next", {**QWEN_MOE, **DELTA}),
    ("Qwen3NextForCausalLM", "qwen3_next", {**QWEN_MOE, **DELTA, **MIXED, "mlp_only_layers": [1]}),
    ("Qwen3_5ForCausalLM", "qwen3_5_text", DELTA),
    ("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", {**QWEN_MOE, **DELTA}),
    ("MinistralForCausalLM", "ministral", {}),
    ("Ministral3ForCausalLM", "ministral3", {}),
    ("Llama4ForCausalLM", "llama4_text", {"num_local_experts": 5, "intermediate_size_mlp": 88}),
    (
        "Llama4ForCausalLM",
        "llama4_text",
        {"num_local_experts": 5, "intermediate_size_mlp": 88, "interleave_moe_layer_step": 2},
    ),
    ("PhiForCausalLM", "phi", {}),
    ("Phi3ForCausalLM", "phi3", {}),
    ("PhimoeForCausalLM", "phimoe", {"num_local_experts": 5}),
    (
        "PhimoeForCausalLM",
        "phimoe",
        {"num_local_experts": 5, "lm_head_bias": True, "attention_bias": True},
    ),
    ("CwmForCausalLM", "cwm", {}),
    ("VaultGemmaForCausalLM", "vaultgemma", {}),
    ("HyperCLOVAXForCausalLM", "hyperclovax", {}),
    ("HyperCLOVAXForCausalLM", "hyperclovax", {"use_post_norm": False}),
    ("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", {"num_experts": 5, "moe_topk": [2, 2, 2, 2]}),
    ("MellumForCausalLM", "mellum", {"num_experts": 5}),
    ("AXK1ForCausalLM", "axk1", {**LATENT, **ROUTED}),
    ("LagunaForCausalLM", "laguna", QWEN_MOE),
    (
        "LagunaForCausalLM",
        "laguna",
        {**QWEN_MOE, "gating": "per-element", "num_attention_heads_per_layer": [6, 4, 6, 4]},
    ),
    (
        "GraniteMoeSWAForCausalLM",
        "granitemoe_swa",
        {"num_local_experts": 5, "shared_intermediate_size": 48},
    ),
    (
        "Cohere2MoeForCausalLM",
        "cohere2_moe",
        {"num_experts": 5, "num_shared_experts": 2, "first_k_dense_replace": 1},
    ),
    ("DeepseekV2ForCausalLM", "deepseek_v2", {**LATENT, **ROUTED}),
    ("DeepseekV2ForCausalLM", "deepseek_v2", {**LATENT, **ROUTED, "q_lora_rank": None}),
    ("DeepseekV3ForCausalLM", "deepseek_v3", {**LATENT, **ROUTED}),
    ("DeepseekV32ForCausalLM", "deepseek_v32", {**LATENT, **ROUTED, **INDEXED}),
    ("GlmMoeDsaForCausalLM", "glm_moe_dsa", {**LATENT, **ROUTED, **INDEXED}),
    (
        "KimiLinearForCausalLM",
        "kimi_linear",
        {**LATENT, "q_lora_rank": None, "num_experts": 5, "linear_attn_config": KIMI},
    ),
    ("GlmForCausalLM", "glm", {}),
    ("Glm4ForCausalLM", "glm4", {}),
    ("Glm4MoeForCausalLM", "glm4_moe", ROUTED),
    ("Glm4MoeForCausalLM", "glm4_moe", {**ROUTED, "use_qk_norm": True, "attention_bias": True}),
    ("Glm4MoeLiteForCausalLM", "glm4_moe_lite", {**LATENT, **ROUTED}),
    ("GraniteForCausalLM", "granite", {}),
    ("GraniteSWAForCausalLM", "granite_swa", {}),
    ("GraniteMoeForCausalLM", "granitemoe", {"num_local_experts": 5}),
    (
        "GraniteMoeSharedForCausalLM",
        "granitemoeshared",
        {"num_local_experts": 5, "shared_intermediate_size": 48},
    ),
    (
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        {**MAMBA, **MIXED, "num_local_experts": 5, "shared_intermediate_size": 48},
    ),
    (
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        {**MAMBA, "layer_types": ["mamba", "attention"] * 2, "num_local_experts": 0},
    ),
    ("BambaForCausalLM", "bamba", {**MAMBA, "attn_layer_indices": [1]}),
    ("GptOssForCausalLM", "gpt_oss", {"num_local_experts": 5}),
    ("NemotronForCausalLM", "nemotron", {}),
    (
        "NemotronHForCausalLM",
        "nemotron_h",
        {"hybrid_override_pattern": "M-*E", "mamba_num_heads": 6, "n_groups": 2}
        | {"moe_shared_expert_intermediate_size": 44, "n_routed_experts": 5},
    ),
    (
        "NemotronHForCausalLM",
        "nemotron_h",
        {"hybrid_override_pattern": "MEM*", "mamba_num_heads": 6, "n_routed_experts": 5}
        | {"moe_shared_expert_intermediate_size": 44, "moe_latent_size": 36},
    ),
    ("FalconH1ForCausalLM", "falcon_h1", {**MAMBA, "mamba_d_ssm": 192}),
    ("FalconH1ForCausalLM", "falcon_h1", {**MAMBA, "mamba_d_ssm": None, "mamba_rms_norm": True}),
    (
        "JambaForCausalLM",
        "jamba",
        {"num_experts": 5, "attn_layer_period": 4, "attn_layer_offset": 2, "mamba_d_state": 18},
    ),
    ("Lfm2ForCausalLM", "lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    ("Lfm2ForCausalLM", "lfm2", {"full_attn_idxs": [1, 2], "conv_bias": True}),
    (
        "Lfm2MoeForCausalLM",
        "lfm2_moe",
        {"layer_types": ["conv", "full_attention"] * 2, "num_experts": 5, "num_dense_layers": 1},
    ),
    ("SeedOssForCausalLM", "seed_oss", {}),
    ("MiniMaxM2ForCausalLM", "minimax_m2", {"num_local_experts": 5}),
    ("CohereForCausalLM", "cohere", {}),
    ("CohereForCausalLM", "cohere", {"use_qk_norm": True}),
    ("Cohere2ForCausalLM", "cohere2", {}),
    ("SmolLM3ForCausalLM", "smollm3", {}),
    ("Starcoder2ForCausalLM", "starcoder2", {}),
    ("StableLmForCausalLM", "stablelm", {"head_dim": 16}),
    ("StableLmForCausalLM", "stablelm", {"head_dim": 16, "use_qkv_bias": True}),
    ("Exaone4ForCausalLM", "exaone4", {}),
    ("ExaoneMoeForCausalLM", "exaone_moe", {"num_experts": 5, "num_shared_experts": 2}),
    ("Ernie4_5ForCausalLM", "ernie4_5", {}),
    ("Ernie4_5_MoeForCausalLM", "ernie4_5_moe", {"moe_num_experts": 5, "moe_k": 2}),
    ("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", {}),
    ("ApertusForCausalLM", "apertus", {}),
    ("ArceeForCausalLM", "arcee", {}),
    ("Dots1ForCausalLM", "dots1", ROUTED),
    ("SolarOpenForCausalLM", "solar_open", ROUTED),
    ("AfmoeForCausalLM", "afmoe", {"num_experts": 5, "num_dense_layers": 1}),
    ("HYV3ForCausalLM", "hy_v3", {"num_experts": 5, "num_shared_experts": 2}),
    ("Jais2ForCausalLM", "jais2", {}),
    ("YoutuForCausalLM", "youtu", LATENT),
    ("MiniCPM3ForCausalLM", "minicpm3", LATENT),
    ("MiMoV2FlashForCausalLM", "mimo_v2_flash", {"n_routed_experts": 5, "v_head_dim": 14}),
    ("OPTForCausalLM", "opt", {"ffn_dim": 88}),
    ("OPTForCausalLM", "opt", {"ffn_dim": 88, "enable_bias": False}),
    ("GPT2LMHeadModel", "gpt2", {}),
    ("GPT2LMHeadModel", "gpt2", {"n_inner": 88, "tie_word_embeddings": False}),
    ("BloomForCausalLM", "bloom", {}),
    ("GPTJForCausalLM", "gptj", {}),
    ("GPTNeoXForCausalLM", "gpt_neox", {}),
    ("FalconForCausalLM", "falcon", {}),
    ("FalconForCausalLM", "falcon", {"parallel_attn": False, "multi_query": False, "bias": True}),
    ("FalconForCausalLM", "falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    (
        "FalconForCausalLM",
        "falcon",
        {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
    ),
    (
        "PaliGemmaForConditionalGeneration",
        "paligemma",
        sees({"model_type": "siglip_vision_model"}, {"model_type": "gemma2"}),
    ),
    (
        "Cohere2VisionForConditionalGeneration",
        "cohere2_vision",
        sees(
            {"model_type": "siglip_vision_model"},
            {"model_type": "cohere2"},
            alignment_intermediate_size=68,
        ),
    ),
    (
        "Lfm2VlForConditionalGeneration",
        "lfm2_vl",
        sees(
            {"model_type": "siglip2_vision_model"},
            {"model_type": "lfm2", "layer_types": ["conv", "full_attention"] * 2},
        ),
    ),
    (
        "Lfm2VlForConditionalGeneration",
        "lfm2_vl",
        sees(
            {"model_type": "siglip2_vision_model", "vision_use_head": False},
            {"model_type": "lfm2", "layer_types": ["conv", "full_attention"] * 2},
            projector_use_layernorm=False,
            projector_bias=False,
        ),
    ),
    (
        "LlavaForConditionalGeneration",
        "llava",
        sees({"model_type": "clip_vision_model"}, {"model_type": "llama"}),
    ),
    (
        "LlavaForConditionalGeneration",
        "llava",
        sees({"model_type": "pixtral"}, {"model_type": "mistral"}, multimodal_projector_bias=False),
    ),
    (
        "LlavaNextForConditionalGeneration",
        "llava_next",
        sees({"model_type": "clip_vision_model"}, {"model_type": "mistral"}),
    ),
    (
        "LlavaOnevisionForConditionalGeneration",
        "llava_onevision",
        sees({"model_type": "siglip_vision_model"}, {"model_type": "qwen2"}),
    ),
    (
        "Mistral3ForConditionalGeneration",
        "mistral3",
        sees({"model_type": "pixtral"}, {"model_type": "ministral3"}),
    ),
    ("Gemma3ForConditionalGeneration", "gemma3", sees({}, {})),
    ("Gemma3ForConditionalGeneration", "gemma3", sees({"vision_use_head": False}, {})),
    (
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl",
        sees({"embed_dim": 56, "hidden_size": 96, "mlp_ratio": 3}, {"head_dim": 16}),
    ),
    ("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", sees({}, {"head_dim": 16})),
    (
        "Qwen3VLForConditionalGeneration",
        "qwen3_vl",
        sees({"deepstack_visual_indexes": [0, 2]}, {}),
    ),
    (
        "Qwen3VLMoeForConditionalGeneration",
        "qwen3_vl_moe",
        sees({"deepstack_visual_indexes": [0, 2]}, {"num_experts": 5}),
    ),
    ("Qwen3_5ForConditionalGeneration", "qwen3_5", sees({}, DELTA)),
    ("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", sees({}, {**QWEN_MOE, **DELTA})),
    (
        "Llama4ForConditionalGeneration",
        "llama4",
        sees(
            {"vision_output_dim": 64, "projector_input_dim": 60, "projector_output_dim": 64}
            | {"intermediate_size": 224},
            {"num_local_experts": 5, "intermediate_size_mlp": 88},
        ),
    ),
    (
        "MllamaForConditionalGeneration",
        "mllama",
        sees(
            {
                "num_global_layers": 2,
                "attention_heads": 4,
                "vision_output_dim": 56 * 3,
                "intermediate_layers_indices": [0, 2],
                "max_num_tiles": 4,
                "supported_aspect_ratios": [[1, 1], [1, 2]],
            },
            {"cross_attention_layers": [1, 3], "head_dim": 16},
        ),
    ),
    ("Glm4vForConditionalGeneration", "glm4v", sees({}, {"head_dim": 16})),
    ("Glm4vMoeForConditionalGeneration", "glm4v_moe", sees({}, ROUTED)),
    (
        "InternVLForConditionalGeneration",
        "internvl",
        sees({"image_size": [56, 56], "patch_size": [14, 14]}, {"model_type": "qwen2"}),
    ),
    ("Idefics3ForConditionalGeneration", "idefics3", sees({}, {"model_type": "llama"})),
    ("SmolVLMForConditionalGeneration", "smolvlm", sees({}, {"model_type": "llama"})),
]


def named(cases: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """A name for each case, with a number where an architecture has several."""
    found: list[str] = []
    for architecture, _, _ in cases:
        count = sum(name.split("-")[0] == architecture for name in found)
        found.append(f"{architecture}-{count}" if count else architecture)
    return found


def built(architecture: str, kind: str, changes: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The config.json that transformers writes for a small model, and the model without memory."""
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if "vision_config" not in changes:
        # Some have a size of a head that cannot be set, as it is the share of each.
        text = {key: size for key, size in TEXT.items() if kind != "falcon" or key != "head_dim"}
        changes = text | changes
    config = CONFIG_MAPPING[kind](**changes)
    with torch.device("meta"):
        model = getattr(transformers, architecture)._from_config(config)
    written = json.loads(config.to_json_string(use_diff=False))
    return written | {"architectures": [architecture]}, model


def parameters(model: Any) -> int:
    """Everything that a checkpoint of the model holds, of which tied weights are one."""
    stored: Iterator[Any] = iter(model.state_dict(keep_vars=True).values())
    return sum(prod(tensor.shape) for tensor in {id(each): each for each in stored}.values())


@pytest.mark.parametrize(("architecture", "kind", "changes"), CASES, ids=named(CASES))
def test_weights_are_those_of_the_model_that_transformers_builds(
    architecture: str, kind: str, changes: dict[str, Any]
) -> None:
    config, model = built(architecture, kind, changes)
    shape = read_shape(config, architecture)
    planned = sum(prod(tensor.shape) for tensor in tensors_of(shape))
    assert planned == parameters(model)


@pytest.mark.parametrize("name", ["num_experts", "num_local_experts", "n_routed_experts"])
@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("MixtralForCausalLM", "mixtral"),
        ("Qwen3MoeForCausalLM", "qwen3_moe"),
        ("MellumForCausalLM", "mellum"),
        ("Glm4MoeForCausalLM", "glm4_moe"),
    ],
)
def test_the_number_of_experts_has_several_names(architecture: str, kind: str, name: str) -> None:
    config, model = built(architecture, kind, {**ROUTED, "num_experts": 5, "num_local_experts": 5})
    for other in ("num_experts", "num_local_experts", "n_routed_experts"):
        config.pop(other, None)
    shape = read_shape(config | {name: 5}, architecture)
    assert sum(prod(tensor.shape) for tensor in tensors_of(shape)) == parameters(model)


# Classes that are in no library, and those whose weights have the same form.
REMOTE = {
    "ChatGLMModel": "GlmForCausalLM",
    "LLaMAForCausalLM": "LlamaForCausalLM",
    "IQuestCoderForCausalLM": "LlamaForCausalLM",
    "SolarForCausalLM": "LlamaForCausalLM",
    "TeleChat3ForCausalLM": "LlamaForCausalLM",
    "InternLM3ForCausalLM": "SeedOssForCausalLM",
    "ChatGLMForConditionalGeneration": "GlmForCausalLM",
    "MiMoForCausalLM": "Qwen2ForCausalLM",
    "PhiMoEForCausalLM": "PhimoeForCausalLM",
    "ExaoneMoEForCausalLM": "ExaoneMoeForCausalLM",
    "ExaoneForCausalLM": "LlamaForCausalLM",
    "InternLM2ForCausalLM": "LlamaForCausalLM",
}


def test_every_architecture_is_held() -> None:
    held = {architecture for architecture, _, _ in CASES}
    by_headers = {name for name, row in FAMILIES.items() if row.partial}
    assert held | set(REMOTE) | by_headers == set(ARCHITECTURES) | set(FAMILIES)
    assert set(REMOTE.values()) <= held
    rows = {**ARCHITECTURES, **FAMILIES}
    assert all(rows[name]._replace(renamed={}) == rows[like] for name, like in REMOTE.items())


def test_chatglm_has_the_weights_of_glm() -> None:
    config, model = built("GlmForCausalLM", "glm", {})
    row = FAMILIES["ChatGLMModel"]
    other = {own: config.pop(key) for key, own in row.renamed.items()}
    shape = read_shape(config | other | {"architectures": ["ChatGLMModel"]}, "chatglm")
    assert sum(prod(tensor.shape) for tensor in tensors_of(shape)) == parameters(model)


def test_mimo_marks_its_windows_and_experts_in_words_of_its_own() -> None:
    changes = {"n_routed_experts": 5, "v_head_dim": 14}
    config, model = built("MiMoV2FlashForCausalLM", "mimo_v2_flash", changes)
    del config["layer_types"], config["mlp_layer_types"]
    marks = {"hybrid_layer_pattern": [0, 1, 1, 1], "moe_layer_freq": [0, 1, 1, 1]}
    shapes = [read_shape(config | more, "mimo") for more in ({}, marks)]
    assert shapes[0].decoder == shapes[1].decoder
    assert sum(prod(tensor.shape) for tensor in tensors_of(shapes[1])) == parameters(model)


@pytest.mark.parametrize(("inner", "outer"), [(False, True), (True, False)])
def test_internlm3_calls_its_biases_otherwise(inner: bool, outer: bool) -> None:
    own = {"attention_bias": inner, "attention_out_bias": outer}
    config, model = built("SeedOssForCausalLM", "seed_oss", own)
    del config["attention_bias"], config["attention_out_bias"]
    named_so = {"architectures": ["InternLM3ForCausalLM"], "qkv_bias": inner, "bias": outer}
    shape = read_shape(config | named_so, "internlm3")
    assert sum(prod(tensor.shape) for tensor in tensors_of(shape)) == parameters(model)


def test_fields_that_are_left_out_are_those_of_transformers() -> None:
    """`python -m tools.plan_defaults` writes them anew."""
    assert json.loads(plan_defaults.FILE.read_text()) == plan_defaults.defaults()


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("Gemma3ForConditionalGeneration", "gemma3"), ("LlavaForConditionalGeneration", "llava")],
)
def test_a_config_may_leave_out_the_sizes_of_its_parts(architecture: str, kind: str) -> None:
    config, model = built(architecture, kind, {"vision_config": None})
    del config["text_config"], config["vision_config"]
    shape = read_shape(config, architecture)
    assert sum(prod(tensor.shape) for tensor in tensors_of(shape)) == parameters(model)


WRONG: tuple[Any, ...] = ("x", -1, [], [{}], {"a": 1}, 10**30, None, float("inf"))


@pytest.mark.parametrize(("architecture", "kind", "changes"), CASES, ids=named(CASES))
def test_a_field_of_another_type_is_an_error_of_ours(
    architecture: str, kind: str, changes: dict[str, Any]
) -> None:
    """Each field that is read, in the config and in its parts, is wrong in each way."""
    config, _ = built(architecture, kind, changes)
    parts = [key for key in ("text_config", "vision_config") if key in config]
    read = plan_defaults.keys() | {"dtype", "layer_types", "layers_block_type", "per_layer_config"}
    for part in ["", *parts]:
        inside = config[part] if part else config
        for key, value in itertools.product(read & set(inside), WRONG):
            changed = inside | {key: value}
            try:
                shape = read_shape(config | {part: changed} if part else changed, "mine")
            except TuluError:
                continue
            cache_of(shape, Layout(), dtype="bfloat16", block_size=16)
