"""The same model directory read by us and by transformers, and how the two are compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tulu_cli.core import Message
from tulu_cli.prompt import Tokenizer, encode_chat, render_chat


class Pair:
    """Our tokenizer and the reference."""

    def __init__(self, ours: Tokenizer, theirs: Any) -> None:
        self.ours = ours
        self.theirs = theirs

    @classmethod
    def load(cls, directory: Path) -> "Pair":
        """Read `directory` twice."""
        from transformers import AutoTokenizer

        return cls(Tokenizer.load(directory), AutoTokenizer.from_pretrained(directory))

    def reference(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: str | None = None,
        kwargs: Mapping[str, Any] = {},
    ) -> tuple[str, tuple[int, ...]]:
        """Text and ids by apply_chat_template."""
        values = [{"role": m.role, "content": m.content, **m.extra} for m in messages]
        options = {
            "add_generation_prompt": add_generation_prompt and not continue_final,
            "continue_final_message": continue_final,
            "tools": tools,
            "chat_template": template,
            **kwargs,
        }
        text = self.theirs.apply_chat_template(values, tokenize=False, **options)
        ids = self.theirs.apply_chat_template(values, return_dict=False, **options)
        return text, tuple(ids)

    def assert_same(self, messages: Sequence[Message], **options: Any) -> None:
        """Our text and ids are the reference's."""
        text, ids = self.reference(messages, **options)
        assert render_chat(self.ours, messages, **options) == text
        assert encode_chat(self.ours, messages, **options) == ids


def turns(*contents: str) -> list[Message]:
    """A conversation of these contents, the user first."""
    return [
        Message("assistant" if odd % 2 else "user", content) for odd, content in enumerate(contents)
    ]
