"""Which directories are taken as they are, and which are refused."""

import json
from pathlib import Path

import pytest

from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models import locate, resolve

INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


def model(directory: Path, *names: str) -> Path:
    (directory / "config.json").write_text("{}")
    for name in names:
        (directory / name).touch()
    return directory


def test_a_directory_is_used_as_it_is(tmp_path: Path) -> None:
    model(tmp_path, "model.safetensors", "training_args.bin")
    files = locate(resolve(str(tmp_path)))
    assert files.directory == tmp_path
    assert files.revision is None
    assert files.generation_config == {}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "x.ckpt"])
def test_pickles_are_refused_unless_the_weights_are_not_wanted(tmp_path: Path, name: str) -> None:
    ref = resolve(str(model(tmp_path, name)))
    with pytest.raises(BadInput, match="pickle"):
        locate(ref)
    assert locate(ref, weights=False).directory == tmp_path


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"lacks \*\.safetensors"):
        locate(resolve(str(model(tmp_path))))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    model(tmp_path, "model-1.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    ref = resolve(str(tmp_path))
    with pytest.raises(ModelNotFound, match=r"lacks model-2\.safetensors"):
        locate(ref)
    (tmp_path / "model-2.safetensors").touch()
    assert locate(ref).directory == tmp_path


@pytest.mark.parametrize("index", ['{"weight_map": {"a": {}}}', '{"weight_map": []}', "{}", "[]"])
def test_a_broken_index_is_refused(tmp_path: Path, index: str) -> None:
    model(tmp_path, "model-1.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BadInput, match=r"index\.json"):
        locate(resolve(str(tmp_path)))
