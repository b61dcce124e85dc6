"""Prompts of many conversations with the same options: as text, as ids, with roles and masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tulu_cli.core import Message
from tulu_cli.prompt.builtin import choose_template
from tulu_cli.prompt.chat import NOTHING, Variables, Vocabulary, chat_pieces, chat_text
from tulu_cli.prompt.encode import private_characters
from tulu_cli.prompt.inspect.grammar import Grammar, learn
from tulu_cli.prompt.inspect.spans import (
    Anatomy,
    Habits,
    Range,
    dissect,
    own_opening,
    with_own_opening,
)
from tulu_cli.prompt.render import Render
from tulu_cli.prompt.tracing import plain


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
        """Return the Jinja source that is used."""
        return self.source_for(None)

    def source_for(self, tools: Sequence[Variables] | None) -> str:
        """Return the Jinja source that is used for a conversation with tools of its own."""
        own = self.tools if tools is None else tools
        templates = self.vocabulary.chat_templates
        return choose_template(templates, self.template, with_tools=own is not None)

    @cached_property
    def tokens(self) -> Mapping[str, Any]:
        """Return the named tokens and other variables that the template is given."""
        return {**self.vocabulary.named_tokens, **self.kwargs}

    @cached_property
    def grammar(self) -> Grammar:
        """Return the texts that the template writes between messages."""
        return learn(self.render)

    def asks(self, messages: Sequence[Message]) -> bool:
        """Return True if the prompt of a conversation ends with the generation prompt."""
        if self.continue_final:
            return False
        wanted = self.add_generation_prompt
        return not messages or messages[-1].role != "assistant" if wanted is None else wanted

    def text(self, messages: Sequence[Message], tools: Sequence[Variables] | None = None) -> str:
        """Return the prompt; `tools` are the conversation's own. Raise BadInput, UsageError."""
        return self.render(messages, asked=self.asks(messages), tools=tools)

    def render(
        self,
        messages: Sequence[Message],
        *,
        asked: bool,
        tools: Sequence[Variables] | None = None,
    ) -> str:
        """Return the prompt, with a generation prompt if `asked`."""
        return "".join(self.pieces(messages, asked=asked, tools=tools))

    def pieces(
        self,
        messages: Sequence[Message],
        *,
        asked: bool,
        tools: Sequence[Variables] | None = None,
    ) -> list[str]:
        """Return the plain texts of a prompt with the control tokens between them."""
        options = self.options(asked=asked, tools=tools)
        return chat_pieces(self.vocabulary, messages, continue_final=self.continue_final, **options)

    def options(self, *, asked: bool, tools: Sequence[Variables] | None = None) -> Any:
        """Return the `ChatOptions` of one prompt, but for `continue_final`."""
        return {
            "add_generation_prompt": asked,
            "template": self.template,
            "tools": self.tools if tools is None else tools,
            "kwargs": self.kwargs,
            "allow_special": self.allow_special,
            "strict_roles": self.strict_roles,
        }

    def anatomy(
        self, messages: Sequence[Message], tools: Sequence[Variables] | None = None
    ) -> Anatomy:
        """Return the turns of a prompt and its learnt characters, by its text with traces."""
        text = self.traced(messages, asked=self.asks(messages), tools=tools, last=True)

        def render(messages: Sequence[Message], *, asked: bool) -> str:
            return self.traced(messages, asked=asked, tools=tools)

        generation = self._generation(messages, tools) if not self.continue_final else None
        habits = self._habits.setdefault((tools or self.tools) is not None, Habits(render))
        anatomy = dissect(render, messages, text, habits=habits, generation=generation)
        return with_own_opening(anatomy, self._opening(render, messages, tools))

    def traced(
        self,
        messages: Sequence[Message],
        *,
        asked: bool,
        tools: Sequence[Variables] | None,
        last: bool = False,
        variables: Variables = NOTHING,
    ) -> str:
        """Return a prompt with its traces, open at its end if it is the `last` one."""
        options = self.options(asked=asked, tools=tools)
        options["kwargs"] = {**self.kwargs, **variables}
        open_ = last and self.continue_final
        return chat_text(self.vocabulary, messages, continue_final=open_, traces=True, **options)

    def _opening(
        self, render: Render, messages: Sequence[Message], tools: Sequence[Variables] | None
    ) -> str:
        """Return what the template says of itself before the first message.

        Control tokens alone say nothing.
        """
        role = messages[0].role if messages else ""
        if tools is None and role in self._openings:
            return self._openings[role]
        opening = own_opening(render, role)
        if not "".join(self.vocabulary.control_texts.split(opening)[::2]).strip():
            opening = ""
        if tools is None:
            self._openings[role] = opening
        return opening

    @cached_property
    def _habits(self) -> dict[bool, Habits]:
        """Return the habits that are known, with tools and without."""
        return {}

    @cached_property
    def _openings(self) -> dict[str, str]:
        """Return the openings that are known, by the role of the first message."""
        return {}

    def _generation(
        self, messages: Sequence[Message], tools: Sequence[Variables] | None
    ) -> list[Range] | None:
        """Return the characters that the template marks as the model's, None if it marks none."""
        own = self.tools if tools is None else tools
        source = self.source_for(tools)
        if "endgeneration" not in source:
            return None
        from tulu_cli.prompt.environment import MARKS

        free = private_characters(source, [message.as_dict() for message in messages], own)
        left, right = next(free), next(free)
        marks = {MARKS: (left, right)}
        marked = self.traced(messages, asked=self.asks(messages), tools=tools, variables=marks)
        signs = [(place, char) for place, char in enumerate(plain(marked)) if char in (left, right)]
        in_turn = all(char == (left, right)[at % 2] for at, (_, char) in enumerate(signs))
        if not in_turn or len(signs) % 2:
            return None  # the template has cut what its own block gives
        places = [place - at for at, (place, _) in enumerate(signs)]
        return list(zip(places[::2], places[1::2], strict=True)) or None
