"""Reading a model's files: the precedence of transformers, and errors that say where."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, normalizers, pre_tokenizers

from tests.tokenizers import own_tokenizer
from tulu_cli.core import Message
from tulu_cli.errors import BadInput, ModelNotFound, PromptTooLong
from tulu_cli.prompt import Tokenizer, encode_chat, tokenizer
from tulu_cli.prompt.tokenizer import letter_of

from .pairs import Pair
from .synthetic import chatml

LONG = "The prompt has at least "


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return chatml(tmp_path / "model")


def configure(directory: Path, name: str = "tokenizer_config.json", **values: Any) -> None:
    """Change a JSON file of the model."""
    path = directory / name
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **values}))


def added(tokenizer: Any) -> dict[int, str]:
    """Each added token with its flags."""
    return {number: repr(token) for number, token in tokenizer.get_added_tokens_decoder().items()}


def assert_same_files(directory: Path) -> Tokenizer:
    """Both sides understand the directory in the same way."""
    pair = Pair.load(directory)
    assert added(pair.ours.backend) == added(pair.theirs.backend_tokenizer)
    assert pair.ours.named_tokens == pair.theirs.special_tokens_map
    assert list(pair.ours.named_tokens) == list(pair.theirs.special_tokens_map)
    assert pair.ours.vocab_size == len(pair.theirs)
    theirs = pair.theirs.chat_template
    expected = {"default": theirs} if isinstance(theirs, str) else dict(theirs or {})
    assert pair.ours.chat_templates == expected
    assert pair.ours.encode_raw("<|x|> a<|im_end|>") == tuple(
        pair.theirs("<|x|> a<|im_end|>").input_ids
    )
    return pair.ours


def test_attributes(tulu: Pair) -> None:
    ours = tulu.ours
    assert (ours.bos_token, ours.bos_token_id) == ("<|begin_of_text|>", 128000)
    assert (ours.eos_token, ours.eos_token_id) == ("<|end_of_text|>", 128001)
    assert ours.special_tokens["<pad>"] == 128256
    assert len(ours.special_tokens) == 257
    assert ours.vocab_size == 128257
    assert ours.token_text(9906) == "Hello"
    assert ours.token_text(10**6) is None
    assert ours.token_text(-1) is None
    assert (ours.chat_template or "").startswith("{% for message in messages %}")


def test_plain_directory(directory: Path) -> None:
    assert assert_same_files(directory).bos_token_id is None


def test_tokens_that_only_the_config_knows_are_added(directory: Path) -> None:
    configure(directory, bos_token="<|x|>", image_token="<|image|>", unk_token="<|u|>")
    configure(directory, extra_special_tokens=["<|more|>", "<|im_end|>"])
    ours = assert_same_files(directory)
    assert ours.special_tokens["<|x|>"] == 403
    assert ours.named_tokens["image_token"] == "<|image|>"


def test_named_extra_tokens(directory: Path) -> None:
    configure(directory, extra_special_tokens={"boi_token": "<|boi|>"})
    assert assert_same_files(directory).named_tokens["boi_token"] == "<|boi|>"


def test_flags_in_the_config_win(directory: Path) -> None:
    end = {"content": "<|im_end|>", "lstrip": True, "rstrip": True, "normalized": False}
    decoder = {"402": {**end, "special": True}, "403": {"content": "<|x|>", "special": False}}
    configure(directory, added_tokens_decoder=decoder)
    configure(directory, "special_tokens_map.json", eos_token="<|im_start|>")
    assert assert_same_files(directory).eos_token == "<|im_end|>"


def test_special_tokens_map_wins_over_a_config_that_lists_no_tokens(directory: Path) -> None:
    start = {"content": "<|im_start|>", "lstrip": False, "rstrip": False, "normalized": False}
    configure(directory, "special_tokens_map.json", eos_token=start, bos_token="<|x|>")
    ours = assert_same_files(directory)
    assert ours.eos_token == "<|im_start|>"


def test_named_token_becomes_special(directory: Path) -> None:
    configure(directory, added_tokens_decoder={"403": {"content": "<|x|>", "special": False}})
    configure(directory, sep_token="<|x|>")
    assert "<|x|>" in assert_same_files(directory).special_tokens


def test_split_special_tokens(directory: Path) -> None:
    configure(directory, split_special_tokens=True)
    assert assert_same_files(directory).control_texts.texts == ()


def test_truncation_and_padding_in_the_file_are_off(directory: Path) -> None:
    configure(
        directory,
        "tokenizer.json",
        truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<|endoftext|>",
        },
    )
    tokenizer = Tokenizer.load(directory)
    assert len(tokenizer.encode_raw("a b c d e f g h i j k l")) > 12
    assert len(tokenizer.encode_raw("a")) == 1


@pytest.mark.parametrize("name", ["add_bos_token", "add_eos_token"])
def test_flags_that_transformers_no_longer_reads(directory: Path, name: str) -> None:
    values = {"bos_token": "<|im_start|>", name: True}
    configure(directory, "tokenizer_config.json", **values)
    assert_same_files(directory)


def test_templates_in_files_win_over_the_config(directory: Path) -> None:
    configure(directory, chat_template="from the config")
    assert "tool_use" in assert_same_files(directory).chat_templates
    shutil.rmtree(directory / "additional_chat_templates")
    assert_same_files(directory)
    (directory / "chat_template.jinja").write_bytes(b"a\r\nb\rc\n")
    assert assert_same_files(directory).chat_template == "a\nb\nc\n"
    (directory / "chat_template.jinja").unlink()
    assert assert_same_files(directory).chat_template == "from the config"
    named = [{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}]
    configure(directory, chat_template=named)
    assert assert_same_files(directory).chat_templates == {"default": "d", "rag": "r"}
    configure(directory, chat_template=None)
    assert assert_same_files(directory).chat_template is None


def test_missing_files(directory: Path) -> None:
    (directory / "tokenizer_config.json").unlink()
    assert Tokenizer.load(directory).eos_token is None
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFound, match=r"has no tokenizer\.json"):
        Tokenizer.load(directory)


BROKEN = [
    ("tokenizer.json", '{\n  "added_tokens": [,]}', r"tokenizer\.json .* line 2, column 20"),
    ("tokenizer.json", "{}", r"tokenizer\.json is not a tokenizer"),
    ("tokenizer_config.json", '{"a": 1,}', r"tokenizer_config\.json .* line 1, column"),
    ("tokenizer_config.json", "[]", "not a JSON object"),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}', "added_tokens_decoder"),
    ("tokenizer_config.json", '{"added_tokens_decoder": []}', "added_tokens_decoder"),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"1": 1}}', "a token without text"),
    ("tokenizer_config.json", '{"extra_special_tokens": "x"}', "extra_special_tokens"),
    ("special_tokens_map.json", "\x00", r"special_tokens_map\.json .* line 1, column 1"),
]


@pytest.mark.parametrize(("name", "text", "complaint"), BROKEN)
def test_broken_files_are_named(directory: Path, name: str, text: str, complaint: str) -> None:
    (directory / name).write_text(text)
    with pytest.raises(BadInput, match=complaint):
        Tokenizer.load(directory)


def test_templates_of_a_wrong_kind(directory: Path) -> None:
    shutil.rmtree(directory / "additional_chat_templates")
    (directory / "chat_template.jinja").unlink()
    for wrong in (5, [5], [{"name": "x"}], {"x": 5}):
        configure(directory, chat_template=wrong)
        with pytest.raises(BadInput, match="chat_template"):
            Tokenizer.load(directory)


def test_file_that_is_not_utf8(directory: Path) -> None:
    (directory / "chat_template.jinja").write_bytes(b"ab\xff")
    with pytest.raises(BadInput, match="byte 2 is 0xff"):
        Tokenizer.load(directory)


def test_file_that_cannot_be_read(directory: Path) -> None:
    (directory / "special_tokens_map.json").mkdir()
    with pytest.raises(BadInput, match=r"special_tokens_map\.json cannot be read: Is a directory"):
        Tokenizer.load(directory)


def test_lone_surrogate_in_raw_text(tulu: Pair) -> None:
    with pytest.raises(BadInput, match=r"Character 2 .* \(U\+D83D\)"):
        tulu.ours.encode_raw("ab\ud83d")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word " * 300,
        " " * 4000,
        "\x04\x06\x13\x14\x16\x1d" * 300,  # bytes that small vocabularies leave out
        "\u03b9\u0308\u0301" * 300,  # which NFC makes one character of
        "<|im_end|>" * 300 + "  \n" * 300,
        "\U0001f9d1\u200d\U0001f680" * 300,
        "=" * 4000,
    ],
    ids=ascii,
)
@pytest.mark.parametrize("form", [None, "NFC"])
def test_no_text_is_refused_for_its_length_that_fits(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, form: str | None, text: str
) -> None:
    monkeypatch.setattr(tokenizer, "_SHORT", 0)
    ours = Tokenizer(pair.ours.backend, {}, {})
    before = ours.backend.normalizer
    try:
        if form and before is None:
            ours.backend.normalizer = normalizers.NFC()
        ours.check_length(text, len(ours.encode_text(text)) + 1)
    finally:
        ours.backend.normalizer = before


@pytest.mark.parametrize("kind", ["tulu", "demo"])
def test_a_text_that_cannot_fit_is_refused_before_its_tokens_are_made(
    pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ours = pairs[kind].ours

    def fail(*_: object, **_options: object) -> None:
        raise AssertionError("no tokens are made")

    monkeypatch.setattr(tokenizer, "encoding", fail)
    monkeypatch.setattr("tulu_cli.prompt.encode.encoding", fail)
    messages = [Message("user", "word " * 100_000)]
    for allow_special in (False, True):
        with pytest.raises(PromptTooLong, match=LONG):
            encode_chat(ours, messages, 1024, allow_special=allow_special)


def test_where_a_tokenizer_drops_text_no_length_is_refused(demo_directory: Path) -> None:
    text = " " * 100_000
    ours = Tokenizer.load(demo_directory)
    with pytest.raises(PromptTooLong, match=LONG):
        ours.check_length(text, 1024)
    level = ours.backend.pre_tokenizer
    for part in (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), level]),
        pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), level]),
    ):
        dropping = own_tokenizer(demo_directory)
        dropping.backend.pre_tokenizer = part
        dropping.check_length(text, 1024)
    stripping = own_tokenizer(demo_directory)
    stripping.backend.normalizer = normalizers.Strip()
    stripping.check_length(text, 1024)
    swallowing = own_tokenizer(demo_directory)
    swallowing.backend.add_special_tokens([AddedToken("<cut>", rstrip=True)])
    swallowing.check_length(text, 1024)


def test_bytes_are_spelled_as_a_byte_level_vocabulary_has_them() -> None:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert sorted(map(letter_of, range(256))) == sorted(level.alphabet())
    for number in range(0x250):
        ((spelled, _),) = level.pre_tokenize_str(chr(number))
        assert spelled == "".join(map(letter_of, chr(number).encode()))
