"""Models that see: what vLLM leaves out, and what is said of a part that is not known."""

from typing import Any

import pytest

from tests.plan.test_families import CASES, VISION, built, sees
from tulu_cli.errors import BadInput
from tulu_cli.plan.architectures import read_shape
from tulu_cli.plan.read import model_of


def config_of(architecture: str, **whole: Any) -> dict[str, Any]:
    """The config.json of a small model of test_families, or of one with transformers' sizes."""
    case = next(case for case in CASES if case[0] == architecture)
    return built(*case)[0] | whole


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
