"""A small model of any architecture, as its config.json would say."""

from typing import Any

from tulu_cli.plan.read import model_of
from tulu_cli.plan.vllm import Model

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 130,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def tiny(**changes: Any) -> Model:
    return model_of("tiny", LLAMA | changes)
