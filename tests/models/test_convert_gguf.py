"""GGUF files become safetensors directories, by the real converter and by false ones."""

import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tulu_cli.models import locate, resolve

from .converters import SUCCEED, Install, leftovers
from .tiny_gguf import CONTEXT, TEMPLATE, tensors


def read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file, all of which must be bfloat16."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        halves = np.frombuffer(data[first:last], np.uint16).astype(np.uint32)
        found[name] = (halves << 16).view(np.float32).reshape(entry["shape"])
    return found


@pytest.mark.usefixtures("cache")
def test_the_real_converter(tiny_gguf: Path, tmp_path: Path) -> None:
    file = tmp_path / "my tiny.gguf"
    file.write_bytes(tiny_gguf.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "another model"}')
    heard: list[tuple[str, int, int]] = []
    files = locate(resolve(str(file)), offline=True, progress=lambda *call: heard.append(call))

    assert files.architectures == ("LlamaForCausalLM",)
    assert files.max_model_len == CONTEXT
    assert files.eos_token_ids == (2,)
    assert (files.directory / "chat_template.jinja").read_text() == TEMPLATE
    saved, written = read_safetensors(files.directory / "model.safetensors"), tensors()
    for name, original in {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    }.items():
        np.testing.assert_array_equal(saved[name], written[original])
    assert [(done, total) for _, done, total in heard] == [(step, 4) for step in range(5)]
    assert all("my tiny.gguf" in stage for stage, _, _ in heard)
    assert leftovers() == [files.directory.name]

    # Again, and now nothing is done.
    heard.clear()
    assert locate(resolve(str(file)), progress=lambda *call: heard.append(call)) == files
    assert heard == []


def test_the_parent_imports_no_torch(cache: Path, tiny_gguf: Path, fake_converter: Install) -> None:
    fake_converter(SUCCEED)
    before = set(sys.modules)
    locate(resolve(str(tiny_gguf)))
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert new.isdisjoint({"torch", "transformers", "gguf", "numpy", "huggingface_hub"})
    assert cache.is_dir()


def test_a_file_that_was_written_again_is_another_model(
    cache: Path, tiny_gguf: Path, tmp_path: Path, fake_converter: Install
) -> None:
    fake_converter(SUCCEED)
    file, link = tmp_path / "a.gguf", tmp_path / "b.gguf"
    file.write_bytes(tiny_gguf.read_bytes())
    link.symlink_to(file)
    first = locate(resolve(str(file))).directory
    assert locate(resolve(str(file))).directory == first
    os.utime(file, ns=(1, 1))
    second = locate(resolve(str(file))).directory
    assert second != first
    assert second.parent == first.parent == cache / "converted"
