"""The Tülu 3 chat template, built in: it needs no model and no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tulu_cli.core import Conversation, Message
from tulu_cli.disk import read_text
from tulu_cli.errors import BadInput
from tulu_cli.prompt.spoofing import ControlTexts

# The end token of the Tülu 3 models' tokenizers, which are Llama 3.1's: id 128001.
FAMILY_EOS = "<|end_of_text|>"
# What the model card prints in its place. It is not a token of that vocabulary.
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
        """Return these templates with some tokens replaced."""
        return replace(self, named_tokens={**self.named_tokens, **named})

    @cached_property
    def control_texts(self) -> ControlTexts:
        """Return the texts of the control tokens; only the named ones are known."""
        return ControlTexts([text for text in self.named_tokens.values() if text])


@cache
def tulu_template() -> str:
    """Return the Jinja source of the Tülu 3 chat template."""
    return (files("tulu_cli.prompt") / "data" / "tulu3.jinja").read_text(encoding="utf-8")


def tulu_templates() -> Templates:
    """Return the built-in template with the family's end token. The models add no BOS to a chat."""
    named = MappingProxyType({"eos_token": FAMILY_EOS})
    return Templates(MappingProxyType({"default": tulu_template()}), named)


def read_chat_templates(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the templates by name, the one without a name as `default`. Raise BadInput.

    Where there is any template file, the templates in tokenizer_config.json do not count: this
    is transformers' rule.
    """
    return read_template_files(directory) or templates_in_config(config.get("chat_template"))


def read_template_files(directory: Path) -> dict[str, str]:
    """Return chat_template.jinja and additional_chat_templates/*.jinja, by name."""
    paths = {"default": directory / "chat_template.jinja"}
    additional = sorted((directory / "additional_chat_templates").glob("*.jinja"))
    paths |= {path.name.removesuffix(".jinja"): path for path in additional}
    texts = {name: read_text(path) for name, path in paths.items()}
    # Files are read in text mode by transformers: every line end is a newline.
    return {name: universal_newlines(text) for name, text in texts.items() if text is not None}


def universal_newlines(text: str) -> str:
    """Return the text with CRLF and CR as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def templates_in_config(value: object) -> dict[str, str]:
    """Return the templates in `chat_template`: a text, an object, or a list of objects."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list) and all(is_named_template(item) for item in value):
        value = {item["name"]: item["template"] for item in value}
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise BadInput(
            "chat_template in tokenizer_config.json is neither a text nor a list of objects with "
            "name and template."
        )
    return dict(value)


def is_named_template(item: object) -> bool:
    """Return True for an object with a name and a template."""
    return isinstance(item, Mapping) and isinstance(item.get("name"), str) and "template" in item


def choose_template(
    templates: Mapping[str, str], template: str | None = None, *, with_tools: bool = False
) -> str:
    """Return the Jinja source: `template` is the name of one, a source, or None for the default.

    What is not a name is a source, be it without any Jinja. With tools, a template named `tool_use`
    goes before the default. Raise BadInput.
    """
    if template is not None:
        return templates.get(template, template)
    if with_tools and "tool_use" in templates:
        return templates["tool_use"]
    if "default" in templates:
        return templates["default"]
    if templates:
        raise BadInput(f"The model has no default chat template; name one{available(templates)}.")
    raise BadInput(
        "The model has no chat template, so it takes no conversation: "
        "use --raw to give it plain text, or --template to bring a template."
    )


def available(templates: Mapping[str, str]) -> str:
    """Return the names to choose from, as the tail of a sentence."""
    return f" (the model has: {', '.join(sorted(templates))})" if templates else ""
