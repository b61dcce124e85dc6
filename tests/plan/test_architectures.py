"""What a config.json says, and what it lacks."""

from typing import Any

import pytest

from tests.plan.tiny import LLAMA, tiny
from tulu_cli.errors import BadInput
from tulu_cli.models.config import context_length
from tulu_cli.plan.architectures import read_shape
from tulu_cli.plan.decoder import UnknownArchitecture
from tulu_cli.plan.read import built_in_config
from tulu_cli.plan.shape import Keys, Shape
from tulu_cli.plan.tensors import tensors_of


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_size": None}, "has no hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers of 0"),
        ({"num_hidden_layers": -3}, "num_hidden_layers of -3"),
        ({"vocab_size": "many"}, "vocab_size of 'many'"),
        ({"vocab_size": 10**12}, "vocab_size of 1000000000000"),
        ({"num_attention_heads": True}, "num_attention_heads of True"),
        ({"torch_dtype": "int3"}, "dtype 'int3'"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"partial_rotary_factor": 7}, "partial_rotary_factor"),
    ],
)
def test_a_field_that_is_missing_or_absurd_is_bad_input(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem) as caught:
        read_shape(LLAMA | changes, "mine")
    assert "mine" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["MambaForCausalLM"]},
        {"architectures": [], "model_type": "mamba"},
        {"layer_types": ["linear_attention"] * 5},
    ],
)
def test_what_is_not_known_is_said_and_not_guessed(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownArchitecture, match=r"KV cache of .* unknown"):
        read_shape(LLAMA | changes, "mine")


@pytest.mark.parametrize(
    ("size", "stage", "parameters"),
    [
        ("8B", "RLVR", 8_030_326_784),
        ("70B", "SFT", 70_553_837_568),
        ("405B", "DPO", 405_853_650_944),
        ("8B", "RM", 7_504_961_536),
    ],
)
def test_the_tulu_family_is_built_in(size: str, stage: str, parameters: int) -> None:
    config = built_in_config(size, stage)
    assert config is not None
    shape = read_shape(config, size)
    counted = sum(tensor.size // 2 for tensor in tensors_of(shape))
    # Llama 3.1 with eight more rows in the embedding and, but for the reward model, in the head.
    llama = {"8B": 8_030_261_248, "70B": 70_553_706_496, "405B": 405_853_388_800}[size]
    tables = 1 if stage == "RM" else 2
    head = (128256 * shape.hidden - shape.hidden) if stage == "RM" else 0
    assert counted == llama + tables * 8 * shape.hidden - head
    assert counted == parameters


def windows_of(shape: Shape) -> list[int | None]:
    kept = [one for layer in shape.decoder for one in layer.kept]
    return [one.window for one in kept if isinstance(one, Keys)]


def test_gemma_has_windows_on_all_but_each_sixth_layer() -> None:
    config = LLAMA | {
        "architectures": ["Gemma3ForCausalLM"],
        "num_hidden_layers": 12,
        "sliding_window": 64,
        "head_dim": 8,
    }
    windows = windows_of(read_shape(config, "gemma"))
    assert [index for index, window in enumerate(windows) if window is None] == [5, 11]


def test_a_window_that_is_switched_off_is_none() -> None:
    off = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "use_sliding_window": False}
    assert set(windows_of(tiny(**off).shape)) == {None}
    on = off | {"use_sliding_window": True, "max_window_layers": 3}
    assert windows_of(tiny(**on).shape) == [None, None, None, 64, 64]


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"type": "linear", "factor": 4.0}, 16384),
        ({"rope_type": "dynamic", "factor": 2}, 8192),
        ({"rope_type": "linear", "factor": None}, 4096),
        ({"rope_type": "yarn", "factor": 4.0}, 4096),
        ({"rope_type": "llama3", "factor": 8.0}, 4096),
        ({"rope_type": "default"}, 4096),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_the_longest_context_is_that_of_the_rest_of_the_program(
    key: str, rope: dict[str, Any], length: int
) -> None:
    config = LLAMA | {"max_position_embeddings": 4096, key: rope}
    assert read_shape(config, "mine").positions == context_length(config) == length
