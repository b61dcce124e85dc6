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


ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}


def adapter(directory: Path, told: str) -> Path:
    directory.mkdir()
    (directory / "adapter_config.json").write_text(told)
    (directory / "adapter_model.safetensors").touch()
    return directory


def test_an_adapter_is_called_one_and_its_base_is_named(tmp_path: Path) -> None:
    path = adapter(tmp_path / "lora", json.dumps(ADAPTER))
    with pytest.raises(ModelNotFound, match="is an adapter of 'org/base', and not a whole model"):
        resolve(str(path))


@pytest.mark.parametrize("told", ["{}", '{"base_model_name_or_path": null}'])
def test_an_adapter_that_does_not_name_its_base(told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="is an adapter, and not a whole model"):
        resolve(str(adapter(tmp_path / "lora", told)))


def test_an_adapter_beside_a_config_has_no_weights_of_a_model(tmp_path: Path) -> None:
    path = model(adapter(tmp_path / "lora", json.dumps(ADAPTER)))
    with pytest.raises(ModelNotFound, match="is an adapter of 'org/base'"):
        locate(resolve(str(path)))
    (path / "model.safetensors").touch()
    assert locate(resolve(str(path))).directory == path
