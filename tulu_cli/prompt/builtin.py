"""The Tülu 3 chat template, built in: it needs no model and no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType

from tulu_cli.core import Conversation, Message
from tulu_cli.prompt.control import ControlTexts

# The end token of the Tülu 3 models' tokenizers, which are Llama 3.1's: id 128001.
FAMILY_EOS = "<|end_of_text|>"
# What the model card prints in its place. It is no token of that vocabulary.
CARD_EOS = "<|endoftext|>"
EOS_DIFFERENCE = (
    f"The model card prints {CARD_EOS}, but the Llama 3.1 tokenizers of the Tülu 3 models end a "
    f"turn with {FAMILY_EOS} (id 128001), and read {CARD_EOS} as plain text."
)
# The card's own example, under "Chat template".
CARD_EXAMPLE: Conversation = (
    Message("user", "How are you doing?"),
    Message(
        "assistant",
        "I'm just a computer program, so I don't have feelings, but I'm functioning as expected. "
        "How can I assist you today?",
    ),
)


@dataclass(frozen=True)
class Templates:
    """Chat templates without a tokenizer: what rendering needs, and nothing to make ids with."""

    chat_templates: Mapping[str, str]
    named_tokens: Mapping[str, str]

    def with_tokens(self, named: Mapping[str, str]) -> "Templates":
        """The same with some tokens in place of its own."""
        return replace(self, named_tokens={**self.named_tokens, **named})

    @cached_property
    def control_texts(self) -> ControlTexts:
        """All that is known of control tokens: the named ones."""
        return ControlTexts([text for text in self.named_tokens.values() if text])


@cache
def tulu_template() -> str:
    """The Jinja source."""
    return (files("tulu_cli.prompt") / "data" / "tulu3.jinja").read_text(encoding="utf-8")


def tulu_templates() -> Templates:
    """The built-in template with the end token of the family. The models add no BOS to a chat."""
    named = MappingProxyType({"eos_token": FAMILY_EOS})
    return Templates(MappingProxyType({"default": tulu_template()}), named)
