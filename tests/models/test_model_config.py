"""What is read from config.json and generation_config.json."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.errors import BadInput, ModelNotFound, UsageError
from tulu_cli.models import ModelFiles, locate, resolve
from tulu_cli.models.config import choose_context_length


def files(
    directory: Path, config: dict[str, Any], generation: dict[str, Any] | None = None
) -> ModelFiles:
    (directory / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    return locate(resolve(str(directory)), weights=False)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 131072}, 131072),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}, "max_position_embeddings": 77}, 4096),
        ({}, None),
        ({"max_position_embeddings": None, "n_ctx": 512}, 512),
    ],
)
def test_context_length(tmp_path: Path, config: dict[str, Any], length: int | None) -> None:
    assert files(tmp_path, config).max_model_len == length


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "linear", "factor": 4.0}, 8192),
        ({"type": "dynamic", "factor": 2.0}, 4096),
        ({"rope_type": "llama3", "factor": 8.0}, 2048),
        ({"rope_type": "yarn", "factor": 4.0}, 2048),
        ({"rope_type": "default", "rope_theta": 1e4}, 2048),
        ({"full_attention": {"rope_type": "linear", "factor": 8.0}}, 2048),
        (None, 2048),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_rope_scaling(tmp_path: Path, key: str, rope: dict[str, Any] | None, length: int) -> None:
    assert files(tmp_path, {"max_position_embeddings": 2048, key: rope}).max_model_len == length


def test_gemma3_names_the_stretched_length(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", "max_position_embeddings": 131072}
    rope = {"rope_type": "linear", "factor": 8.0}
    assert files(tmp_path, {"text_config": text | {"rope_scaling": rope}}).max_model_len == 131072


@pytest.mark.parametrize(
    ("config", "generation", "ids"),
    [
        ({"eos_token_id": 2}, None, (2,)),
        ({"eos_token_id": 2}, {"eos_token_id": [5, 6]}, (5, 6)),
        ({"eos_token_id": 2}, {"eos_token_id": None, "temperature": 1.0}, (2,)),
        ({"eos_token_id": 0}, {}, (0,)),
        ({"text_config": {"eos_token_id": [7]}}, None, (7,)),
        ({}, None, ()),
    ],
)
def test_end_tokens(
    tmp_path: Path,
    config: dict[str, Any],
    generation: dict[str, Any] | None,
    ids: tuple[int, ...],
) -> None:
    assert files(tmp_path, config, generation).eos_token_ids == ids


def test_architectures(tmp_path: Path) -> None:
    assert files(tmp_path, {"architectures": ["A", "B"]}).architectures == ("A", "B")
    assert files(tmp_path, {"architectures": None}).architectures == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{\n "a": }', "line 2, column 7"),
        (b"[1]", "holds a list"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7 "),
        (b"", "line 1, column 1"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_broken_config_says_where(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(BadInput, match=re.escape(reason)):
        locate(resolve(str(tmp_path)), weights=False)


def test_a_config_that_vanished(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    ref = resolve(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelNotFound, match="does not exist: fetch the model again"):
        locate(ref, weights=False)


@pytest.mark.parametrize(
    ("asked", "model", "expected"),
    [(None, 131072, 8192), (None, 2048, 2048), (None, None, 8192), (100, 2048, 100), (9, None, 9)],
)
def test_the_context_length_to_run_with(
    asked: int | None, model: int | None, expected: int
) -> None:
    assert choose_context_length(asked, model) == expected


def test_no_more_context_than_the_model_has() -> None:
    with pytest.raises(UsageError, match="--max-model-len 4,096 is more than the model's 2,048"):
        choose_context_length(4096, 2048)


@pytest.mark.parametrize("factor", ["4", -1, 0, float("nan"), float("inf"), [4]])
def test_a_broken_rope_factor_is_bad_input(tmp_path: Path, factor: object) -> None:
    rope = {"rope_type": "linear", "factor": factor}
    model = files(tmp_path, {"max_position_embeddings": 2048, "rope_scaling": rope})
    with pytest.raises(BadInput, match="rope scaling"):
        _ = model.max_model_len
