"""The shapes of the Tülu 3 family, so that planning for it needs no file and no network.

From the config.json of the repositories: those of Llama 3.1, with a vocabulary that has eight
more rows, of which the pad token is one. The reward model scores with one output and no head.
"""

from typing import Any

_SIZES: dict[str, dict[str, int]] = {
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80},
    "405B": {"hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126},
}
_HEADS = {"8B": 32, "70B": 64, "405B": 128}
_SHARED = {
    "model_type": "llama",
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128264,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def built_in_config(size: str, stage: str) -> dict[str, Any] | None:
    """The config of a Tülu model by its size and stage, None for what is not one."""
    if size not in _SIZES:
        return None
    reward = stage == "RM"
    head = {"id2label": {"0": "LABEL_0"}} if reward else {}
    return {
        "architectures": ["LlamaForSequenceClassification" if reward else "LlamaForCausalLM"],
        "num_attention_heads": _HEADS[size],
        **_SIZES[size],
        **_SHARED,
        **head,
    }
