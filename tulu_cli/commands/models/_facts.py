"""The facts in a model's own files: shape, context length, weights. Nothing is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.disk import read_json
from tulu_cli.models import ModelFiles
from tulu_cli.models.config import missing_files, quantization_of, text_part
from tulu_cli.models.gguf import GgufHeader
from tulu_cli.models.headers import count_weights
from tulu_cli.prompt.builtin import read_chat_templates
from tulu_cli.text import gib

# The keys of each fact in a config.json, by one architecture or another.
_NUMBERS = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "attention_heads": ("num_attention_heads", "n_head"),
    "key_value_heads": ("num_key_value_heads",),
    "vocabulary": ("vocab_size",),
}
_GGUF_NUMBERS = {
    "layers": "block_count",
    "hidden_size": "embedding_length",
    "attention_heads": "attention.head_count",
    "key_value_heads": "attention.head_count_kv",
    "context_length": "context_length",
}
_TITLES = {
    "architectures": "Architecture",
    "layers": "Layers",
    "hidden_size": "Hidden size",
    "attention_heads": "Attention heads",
    "key_value_heads": "Key-value heads",
    "vocabulary": "Vocabulary",
    "context_length": "Context length",
    "dtype": "Data type",
    "quantization": "Quantization",
    "end_token_ids": "End tokens",
    "chat_template": "Chat template",
    "parameters": "Parameters",
    "weight_bytes": "Weights",
    "missing": "Missing here",
}
_LONGEST = 200


def facts(files: ModelFiles) -> dict[str, Any]:
    """Return the facts by name, None if unknown. Raise BadInput for broken files.

    `missing` has the names of the files that the directory lacks to be a complete model.
    """
    config = text_part(files.config)
    weights = count_weights(files.directory)
    return {
        "architectures": [_text(name) for name in files.architectures],
        **{name: _number(config, keys) for name, keys in _NUMBERS.items()},
        "context_length": files.max_model_len,
        "dtype": _text(config.get("dtype") or config.get("torch_dtype")),
        "quantization": _quantization(files.config),
        "end_token_ids": list(files.eos_token_ids),
        "chat_template": _has_template(files.directory),
        "parameters": weights.parameters or None,
        "weight_bytes": weights.bytes or None,
        "weight_dtypes": [_text(name) for name in weights.dtypes],
        "missing": missing_files(files.directory),
    }


def as_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return titles and texts of the facts that are known."""
    values = {name: found[name] for name in _TITLES if found.get(name) not in (None, [])}
    return [(_TITLES[name], _shown(name, value)) for name, value in values.items()]


def _shown(name: str, value: Any) -> str:
    if name == "weight_bytes":
        return gib(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _number(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((config[key] for key in keys if type(config.get(key)) is int), None)


def _text(value: Any) -> str | None:
    """Return a text of the model's author on one line, cut after two hundred characters."""
    if not isinstance(value, str):
        return None
    return (value if value.isprintable() else ascii(value)[1:-1])[:_LONGEST]


def _quantization(config: Mapping[str, Any]) -> str | None:
    found = quantization_of(config)
    return _text(found["quant_method"]) or None if found else None


def _has_template(directory: Path) -> bool:
    config = read_json(directory / "tokenizer_config.json")
    return bool(read_chat_templates(directory, config))


def gguf_facts(header: GgufHeader, size: int) -> dict[str, Any]:
    """Return the facts of a GGUF file of `size` bytes by name, from its header."""
    kind = header.values.get("general.architecture")
    numbers = {name: header.values.get(f"{kind}.{key}") for name, key in _GGUF_NUMBERS.items()}
    return {
        "architectures": [text] if (text := _text(kind)) else [],
        **{name: value if type(value) is int else None for name, value in numbers.items()},
        "chat_template": "tokenizer.chat_template" in header.values,
        "parameters": header.parameters,
        "weight_bytes": size,
    }
