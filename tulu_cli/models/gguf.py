"""GGUF files: their header, and their conversion to safetensors by a child process.

The header is read here, and not by the gguf package, so that a plan or an early refusal costs no
heavy import. Nothing here imports PyTorch: the child does (convert.py).
"""

import hashlib
import json
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from tulu_cli.disk import reading, refuse_pointer, require_space
from tulu_cli.errors import BadInput, DoesNotFit, ModelNotFound, NoEngine, TuluError
from tulu_cli.machine import install
from tulu_cli.models.cache import build_once
from tulu_cli.processes import end_child, last_line
from tulu_cli.streams import Progress
from tulu_cli.text import gib

_CONVERTER = Path(__file__).with_name("convert.py")
# The child has all that it needs on the disk, and needs no GPU.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}


def run_conversion(
    source: Path, destination: Path, name: str, needed: int, progress: Progress
) -> Path:
    """Convert `source` into the directory `destination`, of about `needed` bytes, and return it.

    The child dies with this process, whatever kills it, and with any exception here, Ctrl-C
    included. Raise BadInput for a damaged file, NoEngine if a library is missing, DoesNotFit if
    memory runs out, and TuluError for anything else.
    """
    log = destination.with_name("convert.log")
    # -P: neither the working directory nor this package's folder may shadow a library's modules.
    command = [sys.executable, "-P", str(_CONVERTER), "--leashed", str(source), str(destination)]
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        try:
            report = _follow(child, name, progress)
            code = child.wait()
        finally:
            end_child(child)
    if code:
        raise _failure(report, code, name, needed, last_line(log))
    return destination


def _follow(child: subprocess.Popen[str], name: str, progress: Progress) -> dict[str, Any]:
    """Pass the child's reports on until it closes its stdout, and return the last one."""
    report: dict[str, Any] = {}
    for line in child.stdout or ():
        report = json.loads(line)
        if "stage" in report:
            progress(f"{report['stage']} ({name})", report["done"], report["total"])
    return report


def _failure(
    report: dict[str, Any], code: int, name: str, needed: int, last_words: str
) -> TuluError:
    kind, detail = report.get("failure"), report.get("detail", last_words)
    if kind == "file":
        return BadInput(f"{name!r} is cut short or damaged ({detail}): fetch the file again.")
    if kind == "install":
        return NoEngine(
            f"A GGUF model cannot be converted here ({detail}): {install('transformers')}."
        )
    if kind == "memory" or code == -signal.SIGKILL:
        return DoesNotFit(
            f"Converting {name!r} ran out of memory: it needs about {gib(needed)} of RAM. "
            "Close other programs, or choose a smaller model."
        )
    if kind == "model":
        return TuluError(f"transformers cannot convert {name!r} ({detail}): choose another model.")
    return TuluError(f"Converting {name!r} failed ({detail}): check the space on the disk.")


_SCALARS = "BbHhIif?"  # GGUF's value types 0 to 7; then 8 string, 9 array, 10 to 12:
_FORMATS = dict(enumerate(_SCALARS)) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS of ggml.h
_MOST_ENTRIES = 2**22  # tensors, values, or texts of a list: vocabularies have up to 2**19
_LONGEST_TEXT = 2**24  # bytes: a chat template has some thousands

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The metadata of a GGUF file, without its arrays, and its number of weights.

    `values` are the single values by key, `counts` the lengths of the arrays by key.
    """

    values: dict[str, Scalar]
    parameters: int
    counts: dict[str, int] = field(default_factory=dict)


def read_header(path: Path) -> GgufHeader:
    """Read a header. Raise BadInput if the file is not GGUF, is damaged, or is one of several."""
    refuse_pointer(path)
    with reading(path), path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise BadInput(f"{str(path)!r} is not a GGUF file: it does not begin with 'GGUF'.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = _checked(path, _Cursor(data))
    if int(header.values.get("split.count", 1)) > 1:
        raise BadInput(f"{str(path)!r} is one part of several: merge them into one file first.")
    return header


def _checked(path: Path, cursor: "_Cursor") -> GgufHeader:
    try:
        return _header(cursor)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadInput(
            f"{str(path)!r} is cut short or damaged: its header cannot be read beyond byte "
            f"{cursor.offset} of {len(cursor.data)}. Fetch the file again."
        ) from error
    except _UnreadableError as error:
        raise BadInput(f"{str(path)!r} {error} (at byte {cursor.offset}).") from error


class _UnreadableError(Exception):
    """The rest of a sentence about the file."""


@dataclass
class _Cursor:
    data: mmap.mmap
    offset: int = 4
    formats: dict[str, struct.Struct] = field(default_factory=dict)

    def take(self, letters: str) -> int:
        layout = self.formats.setdefault(letters, struct.Struct("<" + letters))
        (value,) = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return value  # type: ignore[no-any-return]

    def skip(self, size: int) -> None:
        if self.offset + size > len(self.data):
            raise struct.error
        self.offset += size

    def expect(self, count: int) -> None:
        # Each of them begins with a text, and a text with its length of eight bytes.
        if self.offset + 8 * count > len(self.data):
            raise struct.error
        if count > _MOST_ENTRIES:
            raise _UnreadableError(f"has a list of {count:,} entries")

    def string(self) -> str:
        start = self.offset + 8
        self.skip_string()
        if self.offset - start > _LONGEST_TEXT:
            raise _UnreadableError(f"has a text of {self.offset - start:,} bytes")
        return self.data[start : self.offset].decode()

    def skip_string(self) -> None:
        self.skip(self.take("Q"))


def _header(cursor: _Cursor) -> GgufHeader:
    version = cursor.take("I")
    if version not in _VERSIONS:
        raise _UnreadableError("has a GGUF version that is not 2 or 3")
    tensors, pairs = cursor.take("Q"), cursor.take("Q")
    cursor.expect(tensors)
    cursor.expect(pairs)
    values: dict[str, Scalar] = {}
    counts: dict[str, int] = {}
    for _ in range(pairs):
        key, kind = cursor.string(), cursor.take("I")
        if kind == _ARRAY:
            counts[key] = _skip_array(cursor)
        else:
            values[key] = _scalar(cursor, kind)
    return GgufHeader(values, sum(_tensor(cursor) for _ in range(tensors)), counts)


def _scalar(cursor: _Cursor, kind: int) -> Scalar:
    return cursor.string() if kind == _STRING else cursor.take(_format(kind))


def _skip_array(cursor: _Cursor) -> int:
    """Skip an array and return its length."""
    kind, count = cursor.take("I"), cursor.take("Q")
    if kind != _STRING:
        cursor.skip(count * struct.calcsize("<" + _format(kind)))
        return count
    cursor.expect(count)
    for _ in range(count):
        cursor.skip_string()
    return count


def _tensor(cursor: _Cursor) -> int:
    """Skip the description of a tensor and return its number of weights."""
    cursor.skip_string()
    dimensions = cursor.take("I")
    if dimensions > _MOST_DIMENSIONS:
        raise _UnreadableError(f"has a tensor of {dimensions:,} dimensions")
    size = prod(cursor.take("Q") for _ in range(dimensions))
    cursor.skip(4 + 8)
    return size


def _format(kind: int) -> str:
    if kind not in _FORMATS:
        raise _UnreadableError(f"has a metadata value of unknown type {kind}")
    return _FORMATS[kind]


# Part of every key: raise it when a conversion would come out different from before.
_FORMAT = 1
_BYTES_PER_WEIGHT = 2  # bfloat16
_TOKENIZER_BYTES = 64 * 2**20
_NEEDED = ("torch", "transformers", "gguf")


def converted_file(path: Path, progress: Progress) -> Path:
    """Return the safetensors directory made from a user's GGUF file, now or earlier.

    Raise BadInput, NoEngine, DoesNotFit or TuluError as `convert` does.
    """
    target = file_target(path)
    return build_once(target, lambda staging: convert(path, staging, progress), progress)


def file_target(path: Path) -> str:
    """Return the folder name for the conversion of a user's file.

    A file that has moved, grown or been written again gets another name. Raise ModelNotFound if it
    does not exist.
    """
    with reading(path, ModelNotFound):
        status = path.stat()
    identity = f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    return target_name(path.stem, identity)


def target_name(name: str, identity: str) -> str:
    """Return a readable and safe folder name, which only this `identity` has."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60]
    key = hashlib.sha256(f"{_FORMAT}\0{identity}".encode(errors="surrogateescape")).hexdigest()
    return f"{readable}-{key[:16]}"


def convert(source: Path, staging: Path, progress: Progress) -> Path:
    """Build the safetensors directory of `source` inside `staging`.

    Raise BadInput for a file that is damaged or not GGUF, NoEngine if a library is missing,
    DoesNotFit if memory runs out, and TuluError for a full disk or an unknown architecture.
    """
    needed = read_header(source).parameters * _BYTES_PER_WEIGHT + _TOKENIZER_BYTES
    require_libraries()
    require_space(staging, needed, f"Converting {source.name!r}", "TULU_CACHE_DIR")
    # Alone in its folder: beside the user's file there may be another model's config.json.
    alone = staging / "source" / "model.gguf"
    alone.parent.mkdir()
    alone.symlink_to(os.path.realpath(source))
    return run_conversion(alone, staging / "model", source.name, needed, progress)


def require_libraries() -> None:
    """Raise NoEngine, which says what to install, if a conversion is not possible."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise NoEngine(f"A GGUF model needs {', '.join(missing)}: {install('transformers')}.")


# GGUF's architecture -> the class that reads the converted model.
_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
}
_KEYS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "vocab_size": "vocab_size",
    "sliding_window": "attention.sliding_window",
}


def config_of(header: GgufHeader, name: str) -> dict[str, Any]:
    """Return the config of the model in a file. Raise BadInput if the metadata does not give it.

    The weights are converted to bfloat16 before an engine loads them.
    """
    kind = str(header.values.get("general.architecture"))
    found = {key: header.values.get(f"{kind}.{name}") for key, name in _KEYS.items()}
    found["vocab_size"] = found["vocab_size"] or header.counts.get("tokenizer.ggml.tokens")
    if not isinstance(found["vocab_size"], int):
        raise BadInput(f"{name!r} does not say how large its vocabulary is: convert it first.")
    return {
        "architectures": [_CLASSES.get(kind, kind)],
        "torch_dtype": "bfloat16",
        **{key: value for key, value in found.items() if value is not None},
    }
