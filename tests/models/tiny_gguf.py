"""Writes a GGUF file that is small and whole: weights, byte-level vocabulary, chat template."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from gguf.constants import TokenType
from numpy.typing import NDArray

TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
WIDTH, HIDDEN, HEADS, CONTEXT = 32, 64, 2, 128
SPECIAL = ["<unk>", "<s>", "</s>"]
MERGES = ["h e", "l l", "he ll", "hell o", "w o", "r l", "wo rl"]


def write_tiny_gguf(path: Path) -> Path:
    """Write the file and return its path; the same bytes each time."""
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_chat_template(TEMPLATE)
    _add_vocabulary(writer)
    for name, tensor in tensors().items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def vocabulary() -> list[str]:
    """The tokens in the order of their ids: special ones, GPT-2's 256 bytes, and the merges."""
    return SPECIAL + _byte_letters() + [merge.replace(" ", "") for merge in MERGES]


def tensors() -> dict[str, NDArray[np.float32]]:
    """All weights, in eighths: what bfloat16 holds without rounding."""
    shapes = {
        "token_embd.weight": (len(vocabulary()), WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (len(vocabulary()), WIDTH),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ffn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_up.weight": (HIDDEN, WIDTH),
        "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
    }
    numbers = np.random.default_rng(0)
    return {
        name: (numbers.integers(-8, 8, shape) / 8).astype(np.float32)
        for name, shape in shapes.items()
    }


def _add_vocabulary(writer: GGUFWriter) -> None:
    tokens = vocabulary()
    kinds = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: the printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
