"""A repository of a small model, as bytes."""

REPO = "allenai/Llama-3.1-Tulu-3-8B"
WEIGHTS = bytes(300_000)
TEXTS = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "generation_config.json": b'{"eos_token_id": 128001}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
}
FILES = TEXTS | {"model.safetensors": WEIGHTS, "README.md": b"text", "pytorch_model.bin": b"no"}
