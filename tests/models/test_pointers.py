"""The lines that a clone without Git LFS has in place of a large file."""

from pathlib import Path

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.models import locate, resolve
from tulu_cli.models.gguf import read_header
from tulu_cli.models.headers import count_weights, directory_headers
from tulu_cli.prompt.builtin import read_chat_templates
from tulu_cli.prompt.tokenizer import Tokenizer

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{7:064x}\nsize 988097824\n"
WORDS = r"is a Git LFS pointer, .*`git lfs pull`"


def clone(directory: Path, *pointers: str) -> Path:
    (directory / "config.json").write_text("{}")
    for name in pointers:
        (directory / name).write_text(POINTER)
    return directory


def test_weights(tmp_path: Path) -> None:
    clone(tmp_path, "model.safetensors")
    ref = resolve(str(tmp_path))
    with pytest.raises(BadInput, match=WORDS):
        locate(ref)
    with pytest.raises(BadInput, match=WORDS):
        count_weights(tmp_path)
    with pytest.raises(BadInput, match=WORDS):
        directory_headers(tmp_path)
    assert locate(ref, weights=False).directory == tmp_path


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_config(name: str, tmp_path: Path) -> None:
    clone(tmp_path, "model.safetensors", name)
    with pytest.raises(BadInput, match=WORDS):
        locate(resolve(str(tmp_path)), weights=False)


def test_an_index(tmp_path: Path) -> None:
    clone(tmp_path, "model.safetensors.index.json")
    with pytest.raises(BadInput, match=WORDS):
        locate(resolve(str(tmp_path)))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=WORDS):
        Tokenizer.load(clone(tmp_path, name))


def test_a_template(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=WORDS):
        read_chat_templates(clone(tmp_path, "chat_template.jinja"), {})


def test_a_gguf_file(tmp_path: Path) -> None:
    clone(tmp_path, "model.gguf")
    with pytest.raises(BadInput, match=WORDS):
        read_header(tmp_path / "model.gguf")
