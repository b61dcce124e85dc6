"""What is planned by the headers of the weights: drafts left out, and architectures unknown."""

from typing import Any

import pytest

from tests.plan.test_families import (
    HALVES,
    LATENT,
    PER_LAYER,
    ROUTED,
    TEXT,
    built,
    parameters,
)
from tests.plan.tiny import LLAMA
from tulu_cli.errors import BadInput
from tulu_cli.plan.decoder import UnknownArchitecture
from tulu_cli.plan.read import model_of
from tulu_cli.plan.sharding import Layout, layer_of, rank_blocks
from tulu_cli.plan.tensors import Header
from tulu_cli.plan.weights import weight_bytes

UNKNOWN = LLAMA | {"architectures": ["NovelForCausalLM"], "model_type": "novel"}


def headers(*more: str, layers: int = 5) -> list[Header]:
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(layers)]
    return [Header(name, "BF16", (160, 64)) for name in (*names, *more)]


@pytest.mark.parametrize("draft", ["mtp.fc.weight", "model.layers.5.eh_proj.weight"])
def test_what_predicts_several_tokens_is_not_loaded(draft: str) -> None:
    plain, more = (model_of("mine", LLAMA, found) for found in (headers(), headers(draft)))
    assert weight_bytes(plain) == weight_bytes(more) == 5 * 160 * 64 * 2


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.3.mlp.up_proj.weight", 3),
        ("model.language_model.layers.3.mlp.up_proj.weight", 3),
        ("language_model.model.layers.3.mlp.up_proj.weight", 3),
        ("backbone.layers.3.mixer.in_proj.weight", 3),
        ("vision_tower.encoder.layers.3.mlp.fc1.weight", None),
        ("model.vision_tower.transformer.layers.3.ffn_norm.weight", None),
        ("model.visual.blocks.3.mlp.fc1.weight", None),
    ],
)
def test_the_layers_of_an_encoder_are_not_those_of_the_language_model(
    name: str, layer: int | None
) -> None:
    assert layer_of(name) == layer


def test_an_encoder_is_on_the_first_stage() -> None:
    model = model_of("mine", LLAMA, headers("vision_tower.encoder.layers.4.mlp.fc1.weight"))
    first, last = (rank_blocks(model.tensors, model.shape, Layout(1, 2), stage) for stage in (0, 1))
    assert any("vision_tower" in name for name in first)
    assert not any("vision_tower" in name for name in last)


def test_an_unknown_architecture_has_the_weights_of_its_headers() -> None:
    model = model_of("novel", UNKNOWN, headers())
    assert not model.shape.known
    assert weight_bytes(model) == 5 * 160 * 64 * 2
    for changes in ({"headers": None}, {"quantization": "fp8"}):
        arguments: dict[str, Any] = {"headers": headers()} | changes
        with pytest.raises(UnknownArchitecture, match=r"KV cache of NovelForCausalLM unknown"):
            model_of("novel", UNKNOWN, **arguments)
    with pytest.raises(BadInput, match="dtype 'int3'"):
        model_of("novel", UNKNOWN | {"torch_dtype": "int3"}, headers())


def test_an_encoder_without_sizes_is_planned_by_headers_alone() -> None:
    """Gemma 4 sees and hears; its language model and cache are those of its text_config."""
    changes = TEXT | PER_LAYER | HALVES | {"global_head_dim": 28}
    config, model = built("Gemma4ForCausalLM", "gemma4_text", changes)
    whole = {"architectures": ["Gemma4ForConditionalGeneration"], "text_config": config}
    whole |= {"model_type": "gemma4", "dtype": "bfloat16"}
    found = [
        Header(name.replace("model.", "model.language_model.", 1), "BF16", tuple(weight.shape))
        for name, weight in model.state_dict().items()
        if not name.startswith("lm_head")
    ]
    found.append(Header("model.vision_tower.encoder.layers.7.q.weight", "BF16", (100, 10)))
    planned = model_of("gemma", whole, found)
    assert planned.shape.known
    assert weight_bytes(planned) == 2 * (parameters(model) + 1000)
    alone = model_of("gemma", config, dtype="bfloat16").shape
    assert planned.shape.decoder == alone.decoder
    with pytest.raises(UnknownArchitecture, match="by the headers of its weights only"):
        model_of("gemma", whole)
    with pytest.raises(UnknownArchitecture, match="by the headers of its weights only"):
        model_of("gemma", whole, found, quantization="fp8")


@pytest.mark.parametrize(
    ("architecture", "inside", "kind", "prefix"),
    [
        ("KimiK25ForConditionalGeneration", "text_config", "kimi_k2", "language_model.model."),
        ("InternVLChatModel", "llm_config", "qwen2", "language_model.model."),
        ("Exaone4_5_ForConditionalGeneration", "text_config", "exaone4", "model.language_model."),
    ],
)
def test_the_language_model_behind_an_encoder_without_sizes_has_its_own_cache(
    architecture: str, inside: str, kind: str, prefix: str
) -> None:
    inner = {"kimi_k2": "DeepseekV3", "qwen2": "Qwen2", "exaone4": "Exaone4"}[kind]
    changes = {**LATENT, **ROUTED} if kind == "kimi_k2" else {}
    text, model = built(f"{inner}ForCausalLM", kind.replace("kimi_k2", "deepseek_v3"), changes)
    whole = {"architectures": [architecture], inside: text | {"model_type": kind}}
    whole |= {"model_type": "novel", "dtype": "bfloat16"}
    found = [
        Header(name.replace("model.", prefix, 1), "BF16", tuple(weight.shape))
        for name, weight in model.state_dict().items()
    ]
    found.append(Header("vision_tower.encoder.blocks.7.q.weight", "BF16", (100, 10)))
    planned = model_of("novel", whole, found)
    assert weight_bytes(planned) == 2 * (parameters(model) + 1000)
    alone = model_of("alone", text, dtype="bfloat16").shape
    assert (planned.shape.decoder, planned.shape.positions) == (alone.decoder, 512)
