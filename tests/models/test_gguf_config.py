"""What a GGUF file's metadata says about the shape of its model."""

from pathlib import Path

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.models.gguf import GgufHeader, config_of, read_header


def test_the_config_of_a_file(tiny_gguf: Path) -> None:
    config = config_of(read_header(tiny_gguf), tiny_gguf.name)
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_hidden_layers"] == 1
    assert config["vocab_size"] == 266
    assert config["torch_dtype"] == "bfloat16"


def test_a_file_without_a_vocabulary() -> None:
    with pytest.raises(BadInput, match="vocabulary"):
        config_of(GgufHeader({"general.architecture": "llama"}, 0), "mine.gguf")
