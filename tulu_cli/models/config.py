"""What config.json and generation_config.json say, read without any engine's library."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput, ModelNotFound

_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "seq_length")
# The scalings whose `factor` stretches the length that the config names. All others (yarn,
# llama3, longrope) are written with the stretched length already.
_STRETCHING = ("linear", "dynamic")


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises ModelNotFound where there is no such file, and BadInput where it holds anything else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelNotFound(f"{str(path)!r} is not there: fetch the model again.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{str(path)!r} is not JSON: {error.msg} at {place}.") from error
    except RecursionError as error:
        raise BadInput(f"{str(path)!r} is nested too deep to be a model's.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise BadInput(f"{str(path)!r} holds a {type(value).__name__}, not a JSON object.")
    return value


def context_length(config: Mapping[str, Any]) -> int | None:
    """The context length in tokens that a config allows, or None where it does not say.

    A multimodal model's text part counts. Linear and dynamic rope scaling multiply the length;
    Gemma 3 names the stretched length in spite of its linear scaling.
    """
    text = text_part(config)
    length = next((text[key] for key in _LENGTHS if isinstance(text.get(key), int)), None)
    return None if length is None else int(length * _rope_factor(text))


def end_token_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens that end an answer: the generation config's, else the config's, else none."""
    for source in (generation, config, text_part(config)):
        value = source.get("eos_token_id")
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            return tuple(int(token_id) for token_id in ids)
    return ()


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of the language model: a multimodal one has it in a part of its own."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def _rope_factor(text: Mapping[str, Any]) -> float:
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, Mapping):
        return 1.0
    kind = rope.get("rope_type") or rope.get("type")
    if kind not in _STRETCHING or "gemma3" in str(text.get("model_type")):
        return 1.0
    return float(rope.get("factor") or 1.0)
