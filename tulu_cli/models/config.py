"""config.json, generation_config.json and the files of a model, without an engine's library."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.disk import read_json, refuse_pointer
from tulu_cli.errors import BadInput, ModelNotFound, UsageError
from tulu_cli.models.reference import ModelRef, adapter_refusal
from tulu_cli.text import listed, told

_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "seq_length")
# The scalings whose `factor` stretches the length that the config names. All others (yarn,
# llama3, longrope) are written with the stretched length already.
_STRETCHING = ("linear", "dynamic")
_LONGEST = 2**40  # tokens: a larger number of them is a typing error
_MOST_STRETCHED = 2**20  # no model comes near: a larger factor is a typing error
ADVISED_CONTEXT = 8192  # tokens: the model card of Tülu 3 advises --max_model_len=8192


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return the context length in tokens that a config allows, None if it does not say.

    A multimodal model's text part counts. Linear and dynamic rope scaling multiply the length;
    Gemma 3 names the stretched length in spite of its linear scaling. Raise BadInput for a length
    or a factor that cannot be.
    """
    text = text_part(config)
    key = next((key for key in _LENGTHS if type(text.get(key)) is int), None)
    if key is None:
        return None
    if not 0 < text[key] <= _LONGEST:
        raise BadInput(f"The config.json has a {key} of {told(text[key])}.")
    return int(text[key] * rope_factor(text))


def choose_context_length(asked: int | None, most: int | None) -> int:
    """Return the context length to run with, in tokens: `asked`, else the advised one.

    `most` is the length that the model allows, None where its config does not say. Raise
    UsageError if more than that is asked for.
    """
    if asked is None:
        return min(ADVISED_CONTEXT, most or ADVISED_CONTEXT)
    if most is not None and asked > most:
        raise UsageError(f"--max-model-len {asked:,} is more than the model's {most:,} tokens.")
    return asked


def end_token_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the tokens that end an answer: the generation config's, else the config's.

    Raise BadInput if they are not numbers.
    """
    for source in (generation, config, text_part(config)):
        value = source.get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if not all(type(token_id) is int and abs(token_id) < _LONGEST for token_id in ids):
                raise BadInput(f"The model's config has an eos_token_id of {told(value)}.")
            return tuple(ids)
    return ()


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of a config: of a multimodal one, its text_config.

    InternVL and its kin call it llm_config, as _CONFIG_ATTRS_MAPPING of vLLM 0.32
    (transformers_utils/config.py) knows.
    """
    parts = (config.get(name) for name in ("text_config", "llm_config"))
    return next((part for part in parts if isinstance(part, Mapping)), config)


# CONFIG_FIELD_ALIASES of vLLM 0.33 (transformers_utils/config.py): Jamba's name, Dbrx's,
# DeepSeek's and Mixtral's.
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")


def has_experts(config: Mapping[str, Any]) -> bool:
    """Return whether a config describes a model with experts (MoE), as vLLM tells it."""
    text = text_part(config)
    blocks = text.get("block_configs")
    rows = [text, *(blocks if isinstance(blocks, list) else [])]
    return any(row.get(name) for row in rows if isinstance(row, Mapping) for name in _EXPERTS)


def rope_factor(text: Mapping[str, Any]) -> float:
    """Return the factor by which rope scaling stretches the length that a config names.

    It is 1 where there is none, or where the length is written as stretched already, as in
    _get_and_verify_max_len of vLLM 0.32 (config/model.py). Raise BadInput for a broken factor.
    """
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return 1.0
    kind = rope.get("rope_type") or rope.get("type")
    if kind not in _STRETCHING or "gemma3" in str(text.get("model_type")):
        return 1.0
    factor = rope.get("factor")
    if factor is None:
        return 1.0
    if not isinstance(factor, (int, float)) or not 0 < factor <= _MOST_STRETCHED:
        raise BadInput(f"The rope scaling of config.json has a factor of {told(factor)}.")
    return float(factor)


def quantization_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how a config.json says that its weights are quantized, None if they are plain.

    The method has the name by which vLLM knows it, as in model_arch_config_convertor.py of 0.32:
    ModelOpt's own file names a producer in its place, and older compressed-tensors have another
    key. Raise BadInput for a description that is not an object.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise BadInput("The quantization_config of config.json is not an object.")
    producer, inner = found.get("producer"), found.get("quantization")
    if isinstance(inner, Mapping):
        found = {**found, **inner}
    method = str(found.get("quant_method") or "").lower().replace("_tensors", "-tensors")
    by_modelopt = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    if by_modelopt or method.startswith("modelopt"):
        method = "modelopt"
    return {**found, "quant_method": method}


@dataclass(frozen=True)
class ModelFiles:
    """A directory that an engine can load, with its two configs read.

    `revision` is the commit of the Hub, or for the demo the hash of its GGUF file; a user's own
    directory or file has none. `generation_config` is empty if the model has none.
    """

    ref: ModelRef
    directory: Path
    revision: str | None
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]

    @property
    def max_model_len(self) -> int | None:
        """The context length in tokens, None if the config does not say."""
        return context_length(self.config)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer, by the configs alone: the tokenizer may add one."""
        return end_token_ids(self.config, self.generation_config)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The names of the classes that implement this model in the engines."""
        names = self.config.get("architectures") or []
        if not isinstance(names, list):
            raise BadInput(f"config.json of {self.ref.name} has architectures of {told(names)}.")
        return tuple(name for name in names if isinstance(name, str))


def read_files(ref: ModelRef, directory: Path, revision: str | None = None) -> ModelFiles:
    """Read a directory's configs. Raise BadInput for broken JSON, ModelNotFound if missing."""
    path = directory / "config.json"
    if not os.path.exists(path):
        raise ModelNotFound(f"{str(path)!r} does not exist: fetch the model again.")
    config = read_json(path)
    # ModelOpt before 0.31 describes its quantization in a file of its own; engines read it there.
    if not config.get("quantization_config") and (own := read_json(directory / _MODELOPT)):
        config["quantization_config"] = own
    return ModelFiles(
        ref=ref,
        directory=directory,
        revision=revision,
        config=config,
        generation_config=read_json(directory / "generation_config.json"),
    )


_MODELOPT = "hf_quant_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")


def missing_files(directory: Path, *, weights: bool = True) -> list[str]:
    """Return the names of the files that a directory lacks to be a complete model."""
    missing = [] if (directory / "config.json").is_file() else ["config.json"]
    if not any(any(directory.glob(pattern)) for pattern in _TOKENIZERS):
        missing.append("tokenizer.json")
    return missing + (missing_weights(directory) if weights else [])


def missing_weights(directory: Path) -> list[str]:
    """Return the missing safetensors files. Raise BadInput if the index is broken."""
    index = directory / "model.safetensors.index.json"
    if index.is_file() and not (directory / "model.safetensors").is_file():
        return [name for name in _indexed(index) if not (directory / name).is_file()]
    return [] if _unlisted(directory) else ["*.safetensors"]


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files that an engine loads, sorted. Raise BadInput for a broken index.

    Those are the files of the index where it is whole, as in vLLM's weight_utils.py, or else
    model.safetensors, as in transformers. A second copy of the weights under Mistral's names
    (consolidated*.safetensors) counts only where it is alone.
    """
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    listed_files = [directory / name for name in _indexed(index)] if index.is_file() else []
    present = [path for path in listed_files if path.is_file()]
    if present and (len(present) == len(listed_files) or not single.is_file()):
        return present
    if single.is_file():
        return [single]
    found = _unlisted(directory)
    return [path for path in found if not path.name.startswith("consolidated")] or found


def _unlisted(directory: Path) -> list[Path]:
    """Return the safetensors files of a directory without an index, but not those of an adapter."""
    # A link of the Hub's cache whose blob is gone is still listed by glob: is_file follows it.
    found = (path for path in directory.glob("*.safetensors") if path.is_file())
    return sorted(path for path in found if not path.name.startswith("adapter_"))


def _indexed(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{str(index)!r} does not say which files hold the weights.")
    return sorted(set(names))


def require_weights(directory: Path, name: str) -> None:
    """Raise BadInput for weights that are pickles or pointers, ModelNotFound if there are none."""
    missing = missing_weights(directory)
    if not missing:
        for path in weight_files(directory):
            refuse_pointer(path)
        return
    if refusal := adapter_refusal(directory, name):
        raise refusal
    if has_only_pickles(directory.iterdir()):
        raise only_pickles(name)
    raise ModelNotFound(f"{name!r} lacks {listed(missing, 3)}: fetch the model again.")


def has_only_pickles(paths: Iterable[Path]) -> bool:
    """Return True if there are weights among the files, and all of them are pickles."""
    kinds = {path.suffix for path in paths}
    return ".safetensors" not in kinds and not kinds.isdisjoint(_PICKLES)


def only_pickles(name: str) -> BadInput:
    """Make the error for weights that could run code when they are loaded."""
    return BadInput(
        f"{name!r} has its weights only as pickle files, which can run code when they are "
        "loaded: convert them to safetensors, or choose another model."
    )
