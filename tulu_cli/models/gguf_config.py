"""The config.json that a GGUF file stands for, as far as its metadata says, for planning."""

from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.models.gguf_header import GgufHeader

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
    """The config of the model in a file. Raises BadInput where the metadata does not say it.

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
