"""The tokenizers that the suite reads once are those that the program would read."""

import shutil
from pathlib import Path

import pytest

from tests.tokenizers import own_tokenizer
from tulu_cli.errors import BadInput
from tulu_cli.prompt import Tokenizer

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


@pytest.fixture
def model(demo_directory: Path, tmp_path: Path) -> Path:
    """The files of the demo's tokenizer, which may be changed."""
    for name in (TOKENIZER, CONFIG, TEMPLATE):
        shutil.copy(demo_directory / name, tmp_path)
    return tmp_path


def test_the_same_files_are_read_once_and_changed_ones_anew(model: Path) -> None:
    first = Tokenizer.load(model)
    assert Tokenizer.load(model) is first
    (model / TEMPLATE).write_text("{{ messages }}")
    second = Tokenizer.load(model)
    assert (second.chat_template, second.backend is first.backend) == ("{{ messages }}", True)
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "more.jinja").write_text("more")
    assert Tokenizer.load(model).chat_templates["more"] == "more"
    config = (model / CONFIG).read_text().replace("{", '{"split_special_tokens": true, ', 1)
    (model / CONFIG).write_text(config)
    assert Tokenizer.load(model).backend.encode_special_tokens
    assert not first.backend.encode_special_tokens
    (model / TOKENIZER).write_text("{}")
    with pytest.raises(BadInput, match="is not a tokenizer"):
        Tokenizer.load(model)


def test_of_many_the_last_ones_are_kept(model: Path) -> None:
    first = Tokenizer.load(model)
    for number in range(20):
        (model / TEMPLATE).write_text(f"{number}")
        other = Tokenizer.load(model)
        assert other is not first
        assert other.backend is first.backend, "which each of them has asked for"
        assert Tokenizer.load(model) is other
    assert own_tokenizer(model) is not other
    assert Tokenizer.load(model) is other


def test_one_that_is_changed_is_nobody_elses(model: Path) -> None:
    shared, own = Tokenizer.load(model), own_tokenizer(model)
    own.backend.add_tokens(["<only here>"])
    assert own.token_id("<only here>") is not None
    assert shared.token_id("<only here>") is None
    assert Tokenizer.load(model) is shared
