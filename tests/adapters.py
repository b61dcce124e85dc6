"""Adapters (LoRA) with random weights, written by hand as PEFT writes them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tulu_cli.models.headers import directory_headers

TARGETS = ("q_proj", "v_proj", "o_proj", "down_proj")


def make_adapter(
    directory: Path,
    model: Path,
    *,
    seed: int = 0,
    rank: int = 8,
    strength: float = 0.05,
    targets: Sequence[str] = TARGETS,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write an adapter of `model` for these modules of every layer; alpha is twice the rank.

    `config` are fields of adapter_config.json that differ from those of a plain LoRA.
    """
    random = np.random.default_rng(seed)
    tensors = {}
    for name, _, shape in directory_headers(model):
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] not in targets:
            continue
        rows, columns = shape
        for part, size in (("A", (rank, columns)), ("B", (rows, rank))):
            values = random.standard_normal(size, dtype=np.float32) * strength
            tensors[f"base_model.model.{module}.lora_{part}.weight"] = values
    directory.mkdir(parents=True, exist_ok=True)
    write_safetensors(directory / "adapter_model.safetensors", tensors)
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(targets),
        **(config or {}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(told))
    return directory


def merged(directory: Path, model: Path, adapter: Path) -> Path:
    """Write the model in float32 with the adapter added to its weights, W + B A alpha / rank."""
    directory.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (directory / path.name).symlink_to(path)
    added = read_safetensors(adapter / "adapter_model.safetensors")
    told = json.loads((adapter / "adapter_config.json").read_text())
    weights = read_safetensors(model / "model.safetensors")
    for name, weight in weights.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in added:
            a, b = (added[f"{module}.lora_{part}.weight"] for part in "AB")
            weights[name] = weight + b @ a * (told["lora_alpha"] / told["r"])
    write_safetensors(directory / "model.safetensors", weights)
    return directory


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read tensors of float32 or bfloat16, in float32."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, told in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            first, last = told["data_offsets"]
            values = data[begin + first : begin + last]
            if told["dtype"] == "BF16":  # the upper half of a float32
                flat = (np.frombuffer(values, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                flat = np.frombuffer(values, np.float32)
            tensors[name] = flat.reshape(told["shape"])
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors of float32. By hand: the library would load torch, and vLLM could not fork."""
    header: dict[str, Any] = {}
    data = bytearray()
    for name, values in tensors.items():
        begin = len(data)
        data += values.astype(np.float32).tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [begin, len(data)],
        }
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
