"""A model whose files are on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.models.config import context_length, end_token_ids, read_json
from tulu_cli.models.reference import ModelRef


@dataclass(frozen=True)
class ModelFiles:
    """A directory that an engine can load, with its two configs read.

    `revision` is the commit of the Hub, or for the demo the hash of its GGUF file; a user's own
    directory or file has none. `generation_config` is empty where the model has none.
    """

    ref: ModelRef
    directory: Path
    revision: str | None
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]

    @property
    def max_model_len(self) -> int | None:
        """The context length in tokens, or None where the config does not say."""
        return context_length(self.config)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer, without the tokenizer's opinion."""
        return end_token_ids(self.config, self.generation_config)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The class names under which the engines know this model."""
        return tuple(self.config.get("architectures") or ())


def read_files(ref: ModelRef, directory: Path, revision: str | None = None) -> ModelFiles:
    """Read a directory's configs. Raises BadInput for broken JSON, ModelNotFound for none."""
    config = read_json(directory / "config.json")
    generation = directory / "generation_config.json"
    return ModelFiles(
        ref=ref,
        directory=directory,
        revision=revision,
        config=config,
        generation_config=read_json(generation) if generation.is_file() else {},
    )
