"""The Llama-3 tokenizer as Tülu 3 uses it, made from the file that the llama-models wheel ships."""

import base64
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

import tulu_cli

from .wheels import find_wheel

WHEEL = "llama_models-0.3.0-py3-none-any.whl"
SHA256 = "7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f"
TEMPLATE = Path(tulu_cli.__file__).parent / "prompt" / "data" / "tulu3.jinja"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NAMED = (
    *("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1"),
    *("finetune_right_pad_id", "step_id", "start_header_id", "end_header_id"),
    *("eom_id", "eot_id", "python_tag", "image"),
)
RESERVED = tuple(f"reserved_special_token_{number}" for number in range(2, 246))
SPECIAL = (*(f"<|{name}|>" for name in (*NAMED, *RESERVED)), "<pad>")


def llama3_directory(cache: Path) -> Path:
    """A model directory with the Tülu 3 tokenizer, built once in `cache`."""
    directory = cache / "tulu3-llama3-tokenizer"
    if not directory.exists():
        with TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / directory.name
            made.mkdir()
            wheel = find_wheel(WHEEL, "llama-models==0.3.0", SHA256, cache)
            write_files(made, read_ranks(wheel))
            with suppress(OSError):  # another test process was faster
                made.rename(directory)
    return directory


def read_ranks(wheel: Path) -> dict[bytes, int]:
    """The byte-pair ranks in tiktoken's format: base64 of the token, a space, its rank."""
    lines = zipfile.ZipFile(wheel).read("llama_models/llama3/tokenizer.model").splitlines()
    pairs = (line.split() for line in lines if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def write_files(directory: Path, ranks: dict[bytes, int]) -> None:
    """tokenizer.json, tokenizer_config.json (with the template) and a bare config.json."""
    build(ranks).save(str(directory / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "pad_token": "<pad>",
        "chat_template": TEMPLATE.read_text(encoding="utf-8"),
        "model_max_length": 131072,
    }
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


def build(ranks: dict[bytes, int]) -> tokenizers.Tokenizer:
    """The tokenizer: ranks, split pattern, 257 control tokens, and a BOS before plain text."""
    letters = byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in find_merges(ranks)]
    vocab = {spelled[token]: rank for token, rank in ranks.items()}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    bos = SPECIAL[0]
    template = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    return tokenizer


def find_merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every split of a token into two tokens, in the order in which they are merged."""
    found = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                found.append((rank, ranks[left], ranks[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in byte-level vocabularies."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + index) for index, byte in enumerate(others)
    }
