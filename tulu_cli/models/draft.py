"""Drafts for speculative decoding: what proposes tokens that the model then checks in one pass."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.errors import UsageError

NGRAM = "ngram"
NONE = "none"  # in the place of a draft, for the model alone
DEFAULT_TOKENS = 4
# The longest and the shortest end of a text that is looked up in what came before it. One token
# alone is found nearly everywhere, and is followed by something else.
NGRAM_MOST, NGRAM_LEAST = 4, 2
# Trained to read the hidden states of one model, and loaded by vLLM in another way than a model.
_HEAD = re.compile(r"eagle|medusa|speculator|mtp|dflash|dspark", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Draft:
    """What drafts up to `tokens` tokens ahead of the model.

    It is a smaller model, whose files are in `directory`, or, with None for it, n-grams: what
    followed the same few tokens earlier in the prompt or the answer.
    """

    name: str = NGRAM
    directory: Path | None = None
    tokens: int = DEFAULT_TOKENS

    @property
    def is_model(self) -> bool:
        """True for a model, which takes memory; False for n-grams."""
        return self.directory is not None


def refuse_head(name: str, config: Mapping[str, Any]) -> None:
    """Raise UsageError for the config of what is not a whole language model."""
    found = config.get("architectures")
    architectures = [str(one) for one in found] if isinstance(found, list) else []
    if any(_HEAD.search(one) for one in architectures):
        raise UsageError(
            f"{name} is a head for the hidden states of one model ({architectures[0]}): --draft "
            "takes a whole model, or ngram."
        )
    if any("ForSequenceClassification" in one for one in architectures):
        raise UsageError(f"{name} is a reward model, which writes no tokens: it cannot draft.")
