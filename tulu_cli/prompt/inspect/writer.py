"""Prompts of many conversations with the same options: as text, as ids, with roles and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tulu_cli.core import Message
from tulu_cli.prompt.builtin import choose_template
from tulu_cli.prompt.chat import NOTHING, OURS, Variables, Vocabulary, render_chat
from tulu_cli.prompt.grammar import Grammar, learn
from tulu_cli.prompt.inspect.formats import PlainRow, Row, tools_of
from tulu_cli.prompt.inspect.spans import Anatomy, Range, dissect, places
from tulu_cli.prompt.limits import MARKS
from tulu_cli.prompt.skeleton import Skeletons, has_stand_ins
from tulu_cli.prompt.spoofing import private_characters


@dataclass(frozen=True)
class PromptWriter:
    """Renders conversations. `add_generation_prompt` None asks unless the assistant spoke last."""

    vocabulary: Vocabulary
    template: str | None = None
    add_generation_prompt: bool | None = None
    continue_final: bool = False
    tools: Sequence[Variables] | None = None
    kwargs: Variables = field(default_factory=lambda: NOTHING)
    allow_special: bool = False
    strict_roles: bool = False

    @cached_property
    def source(self) -> str:
        """The Jinja source that is used."""
        templates = self.vocabulary.chat_templates
        return choose_template(templates, self.template, with_tools=self.tools is not None)

    @cached_property
    def tokens(self) -> Mapping[str, Any]:
        """The named tokens and other variables that the template is given."""
        return {**self.vocabulary.named_tokens, **self.kwargs}

    @cached_property
    def grammar(self) -> Grammar:
        """What the template writes between messages."""
        return learn(self.render)

    def asks(self, messages: Sequence[Message]) -> bool:
        """Whether the prompt of a conversation ends with the generation prompt."""
        return self.asks_after(messages[-1].role if messages else "")

    def asks_after(self, role: str) -> bool:
        """The same of one whose last message is of this role."""
        if self.continue_final:
            return False
        wanted = self.add_generation_prompt
        return role != "assistant" if wanted is None else wanted

    def text(self, messages: Sequence[Message], tools: Sequence[Variables] | None = None) -> str:
        """The prompt as text; `tools` are the conversation's own. Raises BadInput, UsageError."""
        text = None
        if tools is None and not any(message.extra for message in messages):
            roles = tuple(message.role for message in messages)
            text = self._filled(roles, [message.content for message in messages])
        if text is not None:
            return text
        return self.render(messages, asked=self.asks(messages), tools=tools)

    def text_of_row(self, row: Row | PlainRow) -> str:
        """The prompt of a row, the quickest way that there is for it."""
        if isinstance(row, PlainRow):
            roles = tuple([value["role"] for value in row.values])
            text = self._filled(roles, [value["content"] for value in row.values])
            if text is not None:
                return text
        return self.text(row.messages, tools_of(row))

    def _filled(self, roles: tuple[str, ...], contents: list[str]) -> str | None:
        """The prompt without running the template, None where that cannot be."""
        if self._skeletons is None or not roles:
            return None
        return self._skeletons.fill(roles, contents, asked=self.asks_after(roles[-1]))

    def render(
        self,
        messages: Sequence[Message],
        *,
        asked: bool,
        tools: Sequence[Variables] | None = None,
    ) -> str:
        """The prompt as text, by running the template."""
        return render_chat(
            self.vocabulary,
            messages,
            continue_final=self.continue_final,
            **self.options(asked=asked, tools=tools),
        )

    def options(self, *, asked: bool, tools: Sequence[Variables] | None = None) -> Any:
        """The `ChatOptions` of one prompt, but for `continue_final`."""
        return {
            "add_generation_prompt": asked,
            "template": self.template,
            "tools": self.tools if tools is None else tools,
            "kwargs": self.kwargs,
            "allow_special": self.allow_special,
            "strict_roles": self.strict_roles,
        }

    def anatomy(
        self, messages: Sequence[Message], text: str, tools: Sequence[Variables] | None = None
    ) -> Anatomy:
        """Where the turns of a prompt and the learnt characters are."""

        def render(messages: Sequence[Message], *, asked: bool) -> str:
            options = self.options(asked=asked, tools=tools)
            return render_chat(self.vocabulary, messages, **options)

        generation = self._generation(messages, tools) if not self.continue_final else None
        return dissect(render, messages, text, asked=self.asks(messages), generation=generation)

    def _generation(
        self, messages: Sequence[Message], tools: Sequence[Variables] | None
    ) -> list[Range] | None:
        if "endgeneration" not in self.source:
            return None
        free = private_characters([message.content for message in messages], self.source)
        left, right = next(free), next(free)
        options = self.options(asked=self.asks(messages), tools=tools)
        options["kwargs"] = {**self.kwargs, MARKS: (left, right)}
        marked = render_chat(self.vocabulary, messages, **options)
        starts = [place - 2 * index for index, place in enumerate(places(marked, left))]
        ends = [place - 2 * index - 1 for index, place in enumerate(places(marked, right))]
        return list(zip(starts, ends, strict=True)) or None

    @cached_property
    def _skeletons(self) -> Skeletons | None:
        if self.continue_final or self.strict_roles or OURS & self.kwargs.keys():
            return None
        if self.tools is not None or has_stand_ins([self.source, *map(str, self.tokens.values())]):
            return None
        from tulu_cli.prompt.opaque import copies_content

        return Skeletons(self.render) if copies_content(self.source) else None
