"""What an image takes, against transformers' own processors and vLLM's own budget."""

import ast
import itertools
import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.image_utils import SizeDict
from transformers.models.llama4.processing_llama4 import Llama4Processor

from tests.plan.test_encoders import config_of
from tests.plan.test_families import VISION
from tulu_cli.errors import BadInput
from tulu_cli.plan.activation import Batch
from tulu_cli.plan.architectures import read_shape
from tulu_cli.plan.compare import compare
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.images import profile
from tulu_cli.plan.kv import context_bytes
from tulu_cli.plan.log import read_log
from tulu_cli.plan.read import image_processor, model_of
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.shape import Sight
from tulu_cli.plan.text import explanation, plan_text
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Run, estimate

SIZES = [(1024, 1024), (56, 56), (33, 700), (700, 33), (301, 299), (1500, 420), (28, 4000)]


def sight(architecture: str, processor: dict[str, Any] | None = None, **whole: Any) -> Sight:
    found = read_shape(config_of(architecture, **whole), architecture, processor).sight
    assert found is not None
    return found


def picture(height: int, width: int) -> Any:
    return np.zeros((height, width, 3), dtype=np.uint8)


def eye(kind: str, **sizes: Any) -> dict[str, Any]:
    return {"vision_config": VISION | {"model_type": kind} | sizes}


@pytest.mark.parametrize(("unit", "architecture"), [(14, "Qwen2_5_VL"), (16, "Qwen3VL")])
def test_an_image_of_qwen_is_resized_as_by_its_processor(unit: int, architecture: str) -> None:
    name = f"{architecture}ForConditionalGeneration"
    vision = config_of(name)["vision_config"] | {"patch_size": unit}
    limits = {"min_pixels": 12_544, "max_pixels": 501_760}
    real = transformers.Qwen2VLImageProcessor(patch_size=unit, **limits)
    edges = {"shortest_edge": limits["min_pixels"], "longest_edge": limits["max_pixels"]}
    found = [sight(name, each, vision_config=vision) for each in (limits, {"size": edges})]
    for height, width in SIZES:
        grid = real(picture(height, width))["image_grid_thw"][0]
        tokens = int(np.prod(grid)) // 4
        assert [one.tokens(height, width) for one in found] == [tokens, tokens]
        assert tokens <= found[0].most
    assert found[0].most == 501_760 // (2 * unit) ** 2 == found[0].patches // 4


def test_without_the_limits_of_its_processor_nothing_is_said_of_an_image() -> None:
    name = "Qwen3VLForConditionalGeneration"
    assert read_shape(config_of(name), name, {"size": {"longest_edge": 9}}).sight is None


@pytest.mark.parametrize(("merge", "longest"), [(1, 1024), (2, 1540), (2, 500)])
def test_an_image_of_pixtral_has_a_token_at_the_end_of_each_row(merge: int, longest: int) -> None:
    size = {"size": {"longest_edge": longest}}
    vision = eye("pixtral", image_size=1540)
    if merge == 1:
        found = sight("LlavaForConditionalGeneration", size, **vision)
    else:
        found = sight("Mistral3ForConditionalGeneration", size, **vision, spatial_merge_size=2)
    unit = 14 * merge
    real = transformers.PixtralImageProcessor(patch_size=unit, **size)
    for height, width in [*SIZES, (longest, longest)]:
        rows, columns = (side // unit for side in real(picture(height, width))["image_sizes"][0])
        assert found.tokens(height, width) == rows * (columns + 1)
    assert found.most == found.tokens(longest, longest)


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model"])
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_an_image_of_llava_takes_a_token_a_patch(kind: str, strategy: str) -> None:
    chosen = {"vision_feature_select_strategy": strategy} | eye(kind, image_size=336)
    found = sight("LlavaForConditionalGeneration", **chosen)
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(crop_size={"height": 336, "width": 336}),
        patch_size=14,
        num_additional_image_tokens=int(kind.startswith("clip")),
        vision_feature_select_strategy=strategy,
    )
    real = transformers.LlavaProcessor._get_num_multimodal_tokens(processor, [(9, 9)])
    assert found.tokens(9, 9) == found.most == real["num_image_tokens"][0]


GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


@pytest.mark.parametrize("next_", [True, False])
def test_an_image_of_llava_next_is_cut_as_by_its_processor(next_: bool) -> None:
    many = [[336 * rows, 336 * columns] for rows in range(1, 7) for columns in range(1, 7)]
    grids = GRIDS if next_ else many
    kind = "clip_vision_model" if next_ else "siglip_vision_model"
    name = "LlavaNext" if next_ else "LlavaOnevision"
    vision = eye(kind, image_size=336) | {"image_grid_pinpoints": grids}
    vision |= {"vision_feature_select_strategy": "default" if next_ else "full"}
    found = sight(f"{name}ForConditionalGeneration", **vision)
    real = getattr(transformers, f"{name}Processor")
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=grids),
        patch_size=14,
        num_image_tokens=24 * 24,
        num_additional_image_tokens=1,
        vision_aspect_ratio="anyres_max_9",
    )
    processor._get_unpadded_features = lambda *sizes: real._get_unpadded_features(processor, *sizes)
    for height, width in SIZES:
        tokens = real._get_number_of_features(processor, height, width, 336, 336)
        assert found.tokens(height, width) == tokens - next_  # the class token
    assert found.most == max(found.tokens(*each) for each in [*grids, (944, 1153)])


def best_fit() -> Any:
    """transformers' functions that choose tiles, from a file that only loads with torchvision."""
    folder = Path(transformers.__file__).parent
    tree = ast.parse((folder / "models/llama4/image_processing_llama4.py").read_text())
    names = ("get_factors", "find_supported_resolutions", "get_best_fit")
    tree.body = [
        each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name in names
    ]
    space: dict[str, Any] = {"torch": torch, "SizeDict": SizeDict, "defaultdict": defaultdict}
    space["lru_cache"] = lru_cache
    exec(compile(tree, "llama4", "exec"), space)
    return space


def test_an_image_of_llama_4_is_cut_into_tiles_with_marks_between_them() -> None:
    name = "Llama4ForConditionalGeneration"
    found = sight(name, {"max_patches": 6}, **eye("llama4_vision_model", image_size=56))
    real = best_fit()
    canvases = real["find_supported_resolutions"](6, SizeDict(height=56, width=56))
    for height, width in SIZES:
        ratio = real["get_best_fit"]((height, width), torch.tensor(canvases)) // 56
        text = Llama4Processor._prompt_split_image(None, ratio, 16 // 4)
        assert found.tokens(height, width) == len(re.findall(r"<\|\w+\|>", text))
        assert found.tokens(height, width) <= found.most


def test_an_image_of_gemma_takes_what_its_config_says_for_each_crop() -> None:
    name = "Gemma3ForConditionalGeneration"
    whole = sight(name)
    assert whole.tokens(9, 9) == whole.most == 256
    crops = {"do_pan_and_scan": True, "pan_and_scan_max_num_crops": 3}
    assert sight(name, crops).most == 4 * 256


def test_the_config_of_a_processor_is_in_one_of_two_files(tmp_path: Any) -> None:
    assert image_processor(tmp_path) == {}
    (tmp_path / "preprocessor_config.json").write_text('{"max_pixels": 1}')
    assert image_processor(tmp_path) == {"max_pixels": 1}
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"max_pixels": 2}}')
    assert image_processor(tmp_path) == {"max_pixels": 2}


@pytest.mark.parametrize(
    ("context", "batched", "items", "tokens"),
    [
        (8192, 8192, 1, 16_384),  # an image, which is more than a batch
        (32_768, 32_768, 1, 32_768),  # a video of four frames, of which two make one
        (131_072, 8192, 1, 7 * 16_384),  # as of fourteen frames, the most
    ],
)
def test_vllm_reads_the_largest_video_that_the_context_holds(
    context: int, batched: int, items: int, tokens: int
) -> None:
    limits = {"min_pixels": 3136, "max_pixels": 12_845_056}
    found = sight("Qwen2_5_VLForConditionalGeneration", limits)
    read = profile(found, Batch(batched, 256, 1), context, 2)
    assert (read.items, read.tokens) == (items, tokens)
    assert read.output == tokens * 96 * 2


def test_vllm_reads_as_many_images_as_a_batch_holds() -> None:
    """32,768 tokens of Qwen3.6 are profiled with 2 images: a log of vLLM 0.21."""
    edges = {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}}
    vision = config_of("Qwen3_5ForConditionalGeneration")["vision_config"] | {"patch_size": 16}
    found = sight("Qwen3_5ForConditionalGeneration", edges, vision_config=vision)
    assert profile(found, Batch(32_768, 256, 1), 262_144, 2)[:2] == (2, 16_384)
    assert profile(found, Batch(32_768, 1, 1), 20_000, 2)[:2] == (1, 16_384)
    assert profile(found, Batch(2048, 256, 1), 20_000, 2)[:2] == (1, 16_384)


def test_a_plan_says_what_an_image_takes() -> None:
    model = model_of("seeing", config_of("Gemma3ForConditionalGeneration"))
    found = estimate(model, parse_gpu("24GiB")[0], Run(256), rules_of(NEWEST))
    size = context_bytes(model.shape, 256, 1, "bfloat16") / GIB
    text = plan_text(plan_of(found), NEWEST, bars=False)
    assert f"An image takes 256 tokens, which are {size:.2f} GiB of KV cache\n" in text


def test_an_image_of_any_size_and_its_encoder_are_in_the_plan() -> None:
    limits = {"min_pixels": 3136, "max_pixels": 12_845_056}
    config = config_of("Qwen2_5_VLForConditionalGeneration")
    plans = {}
    for name, processor in (("blind", {}), ("seeing", limits)):
        model = model_of(name, config, processor=processor)
        run = Run(512, max_num_batched_tokens=512, max_num_seqs=4)
        plans[name] = estimate(model, parse_gpu("24GiB")[0], run, rules_of(NEWEST))
    seeing = plans["seeing"]
    assert seeing.images is not None
    assert plans["blind"].tightest.activation.expected < seeing.images.reading
    assert seeing.tightest.activation.expected >= seeing.images.reading
    text = plan_text(plan_of(seeing), NEWEST, bars=False)
    assert "An image takes up to 16,384 tokens" in text
    assert "one of 1,024 x 1,024 pixels takes 1,369" in text
    assert "1 x 16,384 tokens of images at once" in "\n".join(explanation(seeing, NEWEST))
    line = "Encoder cache will be initialized with a budget of 16384 tokens, and profiled with 1"
    (row,) = compare(read_log(line), plan_of(seeing)).rows
    assert (row.name, row.difference) == ("encoder's tokens", 0)


WRONG: tuple[Any, ...] = ("x", -1, 0, [], {"a": 1}, 10**30, None, float("inf"))


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("Qwen3VL", ("min_pixels", "max_pixels", "size.shortest_edge", "size.longest_edge")),
        ("Mistral3", ("size", "size.longest_edge")),
        ("Gemma3", ("do_pan_and_scan", "pan_and_scan_max_num_crops")),
        ("Llama4", ("max_patches",)),
    ],
)
def test_a_wrong_field_of_a_processor_is_an_error_of_ours(
    architecture: str, keys: tuple[str, ...]
) -> None:
    name = f"{architecture}ForConditionalGeneration"
    right = {"min_pixels": 9, "max_pixels": 99, "do_pan_and_scan": True, "size": {}}
    for key, value in itertools.product(keys, WRONG):
        outer, _, inner = key.partition(".")
        processor = right | {outer: {inner: value} if inner else value}
        try:
            found = read_shape(config_of(name), name, processor).sight
        except BadInput as error:
            assert "The config.json or preprocessor_config.json of" in str(error)
            continue
        assert found is None or (found.most > 0 and found.tokens(1024, 1024) > 0)


@pytest.mark.parametrize(
    ("architecture", "wrong", "problem"),
    [
        ("LlavaNext", {"image_grid_pinpoints": [[336]]}, "image_grid_pinpoints"),
        ("LlavaOnevision", {"vision_aspect_ratio": "wide"}, "vision_aspect_ratio of 'wide'"),
        ("Gemma3", {"vision_config": VISION | {"image_size": 4}}, "images of 4 pixels"),
    ],
)
def test_sizes_that_cannot_be_are_said(
    architecture: str, wrong: dict[str, Any], problem: str
) -> None:
    name = f"{architecture}ForConditionalGeneration"
    grids = {"image_grid_pinpoints": GRIDS} if "Llava" in name else {}
    with pytest.raises(BadInput, match=problem):
        read_shape(config_of(name, **(grids | wrong)), name)
