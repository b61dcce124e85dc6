"""The header of a GGUF file, whole, cut and forged."""

import struct
from pathlib import Path

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.models.gguf import read_header

from .tiny_gguf import CONTEXT, tensors

START = b"GGUF" + struct.pack("<I", 3)
KEY = struct.pack("<Q", 1) + b"k"


def test_it_counts_the_weights_and_reads_single_values(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert header.parameters == sum(tensor.size for tensor in tensors().values())
    assert header.values["general.architecture"] == "llama"
    assert header.values["llama.context_length"] == CONTEXT
    assert header.values["llama.rope.freq_base"] == 10_000.0
    assert "tokenizer.ggml.tokens" not in header.values


def test_every_cut_in_the_header_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    whole = tiny_gguf.read_bytes()
    header = len(whole) - sum(-(-tensor.nbytes // 32) * 32 for tensor in tensors().values())
    cut = tmp_path / "cut.gguf"
    for size in range(0, header - 32, 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(BadInput) as caught:
            read_header(cut)
        assert repr(str(cut)) in str(caught.value)


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\3\4" + bytes(40), "is not a GGUF file"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(40), "version"),
        (START + struct.pack("<QQ", 0, 2**63), "cut short"),
        (START + struct.pack("<QQ", 2**63, 0), "cut short"),
        (START + struct.pack("<QQQ", 0, 1, 2**64 - 1), "cut short"),
        (START + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<I", 99), "unknown type 99"),
        (START + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 8, 2**62), "cut short"),
        (START + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 0, 2**62), "cut short"),
        (START + struct.pack("<QQ", 0, 1) + KEY + struct.pack("<IIQ", 9, 9, 1), "unknown type 9"),
        (START + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1) + b"\xff", "cut short or damaged"),
    ],
)
def test_a_forged_header_is_refused(tmp_path: Path, forged: bytes, reason: str) -> None:
    file = tmp_path / "forged.gguf"
    file.write_bytes(forged)
    with pytest.raises(BadInput, match=reason):
        read_header(file)


@pytest.mark.parametrize(("value", "refused"), [(1, False), (2, True)])
def test_one_part_of_several_is_refused(tmp_path: Path, value: int, *, refused: bool) -> None:
    key = b"split.count"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IH", 2, value)
    file = tmp_path / "part.gguf"
    file.write_bytes(START + struct.pack("<QQ", 0, 1) + pair)
    if refused:
        with pytest.raises(BadInput, match="merge them"):
            read_header(file)
    else:
        assert read_header(file).values == {"split.count": 1}


def test_a_file_closed_to_us(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_header(tmp_path)
