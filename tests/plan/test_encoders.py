"""Models that see: what an image takes, what vLLM leaves out, and where an encoder stands."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.plan.test_families import CASES, VISION, built, sees
from tulu_cli.errors import BadInput
from tulu_cli.plan.architectures import read_shape
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.kv import context_bytes
from tulu_cli.plan.read import model_of
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.text import plan_text
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Run, estimate


def config_of(architecture: str, **whole: Any) -> dict[str, Any]:
    """The config.json of a small model of test_families, or of one with transformers' sizes."""
    case = next(case for case in CASES if case[0] == architecture)
    return built(*case)[0] | whole


def tokens(architecture: str, **whole: Any) -> int | None:
    return read_shape(config_of(architecture, **whole), architecture).image_tokens


def test_an_image_of_llava_takes_a_token_a_patch() -> None:
    vision = VISION | {"model_type": "clip_vision_model", "image_size": 336}
    assert tokens("LlavaForConditionalGeneration", vision_config=vision) == 24 * 24


def test_an_image_of_pixtral_has_a_token_at_the_end_of_each_row() -> None:
    vision = VISION | {"model_type": "pixtral", "image_size": 1540}
    config = {"vision_config": vision, "spatial_merge_size": 2}
    assert tokens("Mistral3ForConditionalGeneration", **config) == 55 * 56


def test_an_image_of_gemma_takes_what_its_config_says() -> None:
    assert tokens("Gemma3ForConditionalGeneration") == 256


def test_the_largest_image_of_llava_next_is_that_of_transformers() -> None:
    from transformers import LlavaNextProcessor

    grids = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    vision = VISION | {"model_type": "clip_vision_model", "image_size": 336}
    whole = {"vision_config": vision, "image_grid_pinpoints": grids}
    unpadded = LlavaNextProcessor._get_unpadded_features
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=grids),
        patch_size=14,
        num_additional_image_tokens=0,
        _get_unpadded_features=lambda *sizes: unpadded(None, *sizes),
    )
    most = max(
        LlavaNextProcessor._get_number_of_features(processor, high, wide, 336, 336)
        for high, wide in grids
    )
    assert tokens("LlavaNextForConditionalGeneration", **whole) == most


def test_a_model_whose_images_vary_says_nothing_of_them() -> None:
    assert tokens("Qwen3VLForConditionalGeneration") is None


def test_a_plan_says_what_an_image_takes() -> None:
    model = model_of("seeing", config_of("Gemma3ForConditionalGeneration"))
    found = estimate(model, parse_gpu("24GiB")[0], Run(256), rules_of(NEWEST))
    size = context_bytes(model.shape, 256, 1, "bfloat16") / GIB
    text = plan_text(plan_of(found), NEWEST, bars=False)
    assert f"An image takes up to 256 tokens, which are {size:.2f} GiB of KV cache\n" in text


@pytest.mark.parametrize(("layer", "left"), [(-1, 3), (-2, 2), ([-3, -2], 2), (1, 1), ([0, 2], 2)])
def test_layers_behind_the_features_are_loaded_by_transformers_only(layer: Any, left: int) -> None:
    config = config_of("LlavaNextForConditionalGeneration", vision_feature_layer=layer)

    def depth(engine: str) -> int:
        names = [tensor.name for tensor in model_of("llava", config, engine=engine).tensors]
        return len({name.split(".")[3] for name in names if "vision_tower.encoder" in name})

    assert depth("vllm") == left
    assert depth("transformers") == 3


def test_a_layer_that_is_none_is_said() -> None:
    config = config_of("LlavaForConditionalGeneration", vision_feature_layer="last")
    with pytest.raises(BadInput, match="vision_feature_layer of 'last'"):
        read_shape(config, "llava")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"vision_config": VISION | {"model_type": "eye"}}, "image encoder of the type 'eye'"),
        ({"text_config": {"model_type": "tongue"}}, "language model of the type 'tongue'"),
        ({"vision_config": 3}, "vision_config that is no object"),
        (
            sees({"model_type": "clip_vision_model", "image_size": [28, 56]}, {}),
            r"image_size of \[28, 56\]",
        ),
    ],
)
def test_a_part_that_is_not_known_is_said(changes: dict[str, Any], problem: str) -> None:
    config = config_of("LlavaForConditionalGeneration") | changes
    with pytest.raises(BadInput, match=problem):
        read_shape(config | {"architectures": ["LlavaForConditionalGeneration"]}, "llava")
