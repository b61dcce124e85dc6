"""Adapters on the disk: what is read of one, and each thing that may be wrong with one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter, write_safetensors
from tulu_cli.errors import BadInput, ModelNotFound, TuluError, UsageError
from tulu_cli.models.adapter import (
    WEIGHTS,
    Adapter,
    check_base,
    locate_adapter,
    named,
    read_adapter,
)
from tulu_cli.models.headers import directory_headers

from .fake_hub import COMMIT, FakeHub

BASE = [
    ("model.embed_tokens.weight", "BF16", (96, 64)),
    ("model.layers.0.self_attn.q_proj.weight", "BF16", (64, 64)),
    ("model.layers.1.mlp.down_proj.qweight", "I32", (20, 64)),
]


def test_an_adapter_is_read(small_directory: Path, tmp_path: Path) -> None:
    adapter = read_adapter(make_adapter(tmp_path / "a", small_directory, rank=4), "mine")
    assert (adapter.name, adapter.rank, adapter.base) == ("mine", 4, str(small_directory))
    assert adapter.targets == ("down_proj", "o_proj", "q_proj", "v_proj")
    assert adapter.shapes["model.layers.0.mlp.down_proj"] == (1536, 576)
    check_base(adapter, "demo", directory_headers(small_directory))
    before = adapter.content_hash()
    again = read_adapter(make_adapter(tmp_path / "a", small_directory, rank=4, seed=1), "mine")
    assert again.content_hash() != before


def without(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def renamed(name: str) -> Callable[[Path], None]:
    def rename(directory: Path) -> None:
        (directory / WEIGHTS).rename(directory / name)

    return rename


def with_fields(**fields: Any) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        told = json.loads((directory / "adapter_config.json").read_text())
        (directory / "adapter_config.json").write_text(json.dumps(told | fields))

    return write


def with_tensors(**shapes: tuple[int, ...]) -> Callable[[Path], None]:
    import numpy as np

    def write(directory: Path) -> None:
        tensors = {f"base_model.model.q.{name}": np.zeros(shape) for name, shape in shapes.items()}
        write_safetensors(directory / WEIGHTS, tensors)

    return write


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (without("adapter_config.json"), ModelNotFound, "has no adapter_config.json"),
        (without(WEIGHTS), ModelNotFound, "has no adapter_model.safetensors"),
        (renamed("adapter_model.bin"), BadInput, "only as pickle files"),
        (lambda path: (path / "adapter_config.json").write_text("{"), BadInput, "adapter_config"),
        (lambda path: (path / "adapter_config.json").write_text("[]"), BadInput, "not a JSON obj"),
        (lambda path: (path / WEIGHTS).write_bytes(b"x" * 5), BadInput, "is cut short"),
        (with_fields(peft_type="IA3"), BadInput, "of the kind 'IA3': only LoRA"),
        (with_fields(r=0), BadInput, "has a rank r of 0"),
        (with_fields(lora_alpha=None), BadInput, "has a lora_alpha of None"),
        (with_fields(use_dora=True), BadInput, "not a plain LoRA: it has DoRA"),
        (with_fields(bias="all"), BadInput, "bias='all'"),
        (with_fields(modules_to_save=["lm_head"]), BadInput, "modules_to_save"),
        (with_fields(init_lora_weights="pissa"), BadInput, "changes the base's own weights"),
        (with_tensors(), BadInput, "holds no tensors"),
        (with_tensors(weight=(2, 2)), BadInput, "which no plain LoRA has"),
        (with_tensors(**{"lora_A.weight": (2, 8)}), BadInput, "halves of q in .* do not fit"),
        (
            with_tensors(**{"lora_A.weight": (64, 8), "lora_B.weight": (8, 64)}),
            BadInput,
            "has a layer of rank 64, and its adapter_config.json says 8",
        ),
    ],
)
def test_what_cannot_be_used_is_said(
    spoil: Callable[[Path], Any],
    error: type[TuluError],
    said: str,
    small_directory: Path,
    tmp_path: Path,
) -> None:
    directory = make_adapter(tmp_path / "a", small_directory, targets=("q_proj",))
    spoil(directory)
    with pytest.raises(error, match=said):
        read_adapter(directory, "a")


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"model.layers.0.self_attn.q_proj": (64, 64)}, None),
        ({"transformer.layers.0.self_attn.q_proj": (64, 64)}, None),  # named in another way
        ({"model.layers.1.mlp.down_proj": (160, 64)}, None),  # quantized: its size is not known
        ({"lm_head": (64, 96)}, None),  # tied to the embedding
        ({"model.layers.7.self_attn.q_proj": (64, 64)}, "no layer layers.7.self_attn.q_proj"),
        ({"model.layers.0.self_attn.q_proj": (64, 128)}, "64 x 64 there, and 64 x 128 in the"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    shapes: dict[str, tuple[int, int]], said: str | None
) -> None:
    adapter = Adapter("a", Path("a"), 8, "org/other", shapes)
    check_base(adapter, "demo", [])  # weights that are not here say nothing
    if said is None:
        check_base(adapter, "demo", BASE)
        return
    with pytest.raises(UsageError, match=f"{said}.*its base is 'org/other'"):
        check_base(adapter, "demo", BASE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ("org/name", "org/name")),
        ("mine=org/name@v1", ("mine", "org/name@v1")),
        ("./out/step-5/", ("step-5", "./out/step-5/")),
        ("mine=./out", ("mine", "./out")),
        ("a", ("a", "a")),
    ],
)
def test_an_adapter_is_named(text: str, expected: tuple[str, str]) -> None:
    assert named(text) == expected


def test_an_adapter_is_fetched_once(small_directory: Path, hub: FakeHub, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "a", small_directory, rank=2, targets=("q_proj",))
    files = {path.name: path.read_bytes() for path in adapter.iterdir()}
    hub.repositories["org/lora"] = {**files, "checkpoint-9/adapter_model.safetensors": b"old"}
    hub.repositories["org/pickle"] = {
        "adapter_config.json": files["adapter_config.json"],
        "adapter_model.bin": b"x",
    }
    found = locate_adapter("org/lora")
    assert found.name == COMMIT
    assert read_adapter(found, "org/lora").rank == 2
    assert hub.fetched() == set(files)
    with pytest.raises(BadInput, match="'org/pickle' has its weights only as pickle"):
        locate_adapter("org/pickle")
    hub.stop()
    assert locate_adapter("org/lora") == found
    assert locate_adapter("org/lora", offline=True) == found
    with pytest.raises(ModelNotFound, match="org/new is not in the cache"):
        locate_adapter("org/new", offline=True)
