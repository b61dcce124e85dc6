"""Models that think: how a thought is told from the answer that it stands before."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tulu_cli.core import Channel, Message, ThoughtFormat, TokenIds
from tulu_cli.errors import UsageError
from tulu_cli.prompt.chat import NOTHING, Variables, Vocabulary, encode_chat
from tulu_cli.prompt.detokenize import StopStrings
from tulu_cli.prompt.tokenizer import Tokenizer

SWITCH = "enable_thinking"  # the template's variable, as Qwen3, GLM and others name it
_TAGS = ("<think>", "</think>")
# As models of all families with these tags write it, and as Qwen3's card closes a thought.
_CLOSING = "\n</think>\n\n"
# What the field of a thought is called in a response_template, as in messages.
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
# OpenAI's Harmony format, of gpt-oss: an answer is several messages, each in a channel.
_HARMONY = "<|channel|>"
_TAIL_TOKENS = 64  # hold the longest sign of a thought, and the line end after it


def thought_format(
    chat_templates: Mapping[str, str], response_template: Any = None
) -> ThoughtFormat | None:
    """Return how a model with these templates writes its thoughts, None if it has none.

    Its `response_template` (transformers from 5.19 on) says it, if that names the two texts around
    the thought; else a chat template that knows <think> or </think>. Raise UsageError for Harmony.
    """
    sources = chat_templates.values()
    if any(_HARMONY in source for source in sources):
        raise UsageError(
            "This model answers in the channels of the Harmony format, as gpt-oss does, which "
            "cannot be read here: its analysis would pass for its answer. A server that reads them "
            "can be asked with --server; complete --raw shows the text as it is."
        )
    if told := _told_format(response_template):
        return told
    knows = any(tag in source for source in sources for tag in _TAGS)
    return ThoughtFormat(*_TAGS, closing=_CLOSING) if knows else None


def writes_thoughts(tokenizer: Tokenizer) -> bool:
    """Return True for a model that may think. Raise UsageError as `thought_format` does."""
    return thought_format(tokenizer.chat_templates, tokenizer.response_template) is not None


def _told_format(response_template: Any) -> ThoughtFormat | None:
    """Return the format that a response_template names by two texts, None for any other one."""
    fields = response_template.get("fields") if isinstance(response_template, Mapping) else None
    if not isinstance(fields, Mapping) or _is_opened(fields.get("content")):
        return None
    field: Mapping[str, Any] = next(
        (fields[name] for name in THOUGHT_FIELDS if isinstance(fields.get(name), Mapping)), {}
    )
    start, closing = _one_text(field.get("open")).strip(), _one_text(field.get("close"))
    end = closing.strip()
    return ThoughtFormat(start, end, closing=closing) if start and end else None


def _is_opened(field: Any) -> bool:
    """Return True for a field that begins with a sign, and is not just what is left over."""
    return isinstance(field, Mapping) and not field.keys().isdisjoint(("open", "open_pattern"))


def _one_text(told: Any) -> str:
    """Return the text of an anchor, with the line ends around it; "" for several, or a pattern.

    Which of its line ends a model leaves out says nothing.
    """
    if isinstance(told, list) and len(told) == 1:
        told = told[0]
    return told if isinstance(told, str) else ""


def thoughts_after(tokenizer: Tokenizer, prompt: TokenIds, begun: str = "") -> ThoughtFormat | None:
    """Return how a thought is told from the answer to a prompt, None if there can be none.

    `begun` is the text of a last message that the model goes on with: an answer that has begun
    without a thought, or after it, has none any more. Raise UsageError as `thought_format` does.
    """
    known = thought_format(tokenizer.chat_templates, tokenizer.response_template)
    if known is None:
        return None
    if begun.strip():
        is_open = begun.rfind(known.start) > begun.rfind(known.end)
        return replace(known, is_open=True) if is_open else None
    tail = tokenizer.decode(prompt[-_TAIL_TOKENS:], skip_special_tokens=False).rstrip()
    return replace(known, is_open=tail.endswith(known.start), is_closed=tail.endswith(known.end))


def thinking_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    max_model_len: int | None = None,
    variables: Mapping[str, Any] = NOTHING,
    *,
    continue_final: bool = False,
    tools: Sequence[Variables] | None = None,
    **switches: bool,
) -> tuple[TokenIds, ThoughtFormat | None]:
    """Return a prompt's token ids, and how a thought is told from its answer.

    The `variables`, which the user has named, and the `tools` are for the chat template, the
    switches those of `encode_chat`. Raise what that raises, and UsageError for a variable that no
    template reads.
    """
    check_variables(tokenizer, variables)
    ids = encode_chat(
        tokenizer,
        messages,
        max_model_len,
        continue_final=continue_final,
        kwargs=variables,
        tools=tools,
        **switches,  # type: ignore[arg-type]
    )
    begun = messages[-1].content if continue_final else ""
    return ids, thoughts_after(tokenizer, ids, begun)


def is_read(name: str, vocabulary: Vocabulary) -> bool:
    """Return True if a chat template of the model has the name of a variable as a word of its own.

    That it is read there is not sure: it may stand in a text of the template.
    """
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    return any(map(word.search, vocabulary.chat_templates.values()))


def check_variables(
    vocabulary: Vocabulary, names: Iterable[str], options: str = "--template-arg "
) -> None:
    """Raise UsageError for a variable that no chat template of the model reads.

    `options` is what the user has written before the name of a variable.
    """
    for name in names:
        if is_read(name, vocabulary):
            continue
        option = f"{options}{name}"
        if name == SWITCH and options.startswith("--"):
            option = "--think and --no-think"
        raise UsageError(
            f"{option} would change nothing: the chat template of this model reads no variable "
            f"{name}."
        )


def no_thoughts(option: str) -> UsageError:
    """Return the refusal of an option for thoughts where the model writes none."""
    return UsageError(
        f"{option} would change nothing: the chat template of this model knows no thoughts."
    )


class ThoughtStream:
    """The thought and the answer in a text that grows.

    All that `push` and `finish` return adds up to the same two texts, however the text is cut into
    pieces. A thought stands before the answer or nowhere: the same signs in an answer are text.
    The signs, and the line ends inside of the thought and after it, belong to neither; a thought
    that never ends is one. An answer that is `bound` by a structure has no white space before it
    either where no thought comes: it was sampled before it was known which of them comes.
    """

    def __init__(self, thoughts: ThoughtFormat, *, bound: bool = False) -> None:
        self.channel: Channel = "thought" if thoughts.is_open else "answer"  # of the latest text
        self.has_ended = False  # the thought
        self._start, self._end = thoughts.start, thoughts.end
        self._is_bound = bound
        self._has_text = False  # in the channel
        self._is_undecided = True
        self._held = ""

    @property
    def is_over(self) -> bool:
        """Return True once the answer has begun, in which no sign of a thought counts."""
        return self.has_ended or (self.channel == "answer" and not self._is_undecided)

    def push(self, text: str) -> tuple[str, str]:
        """Add a piece; return what of the thought and of the answer may be shown now."""
        self._held += text
        if self._is_undecided:
            self._decide()
        if self._is_undecided:
            return "", ""
        thought = self._thought() if self.channel == "thought" else ""
        return thought, self._answer() if self.channel == "answer" else ""

    def finish(self) -> tuple[str, str]:
        """Return the rest of the thought and of the answer, once the model has ended."""
        held, self._held, self._is_undecided = self._held, "", False
        if self.channel == "thought":
            return (held if self._has_text else held.lstrip("\n")).rstrip("\n"), ""
        return "", "" if self.has_ended and not self._has_text else held

    def _decide(self) -> None:
        """Decide whether there is a thought: it begins with its sign, or in the prompt."""
        begin = self._held.lstrip()
        if begin.startswith(self._start):
            # Some models repeat the sign that the prompt has given them.
            self.channel, self._held = "thought", begin.removeprefix(self._start)
        elif self._start.startswith(begin):
            return
        elif self._is_bound and self.channel == "answer":
            self._held = begin
        self._is_undecided = False

    def _thought(self) -> str:
        if not self._has_text:
            self._held = self._held.lstrip("\n")
        body, sign, rest = self._held.partition(self._end)
        if sign:
            self.channel, self.has_ended, self._held = "answer", True, rest
            self._has_text = False
            return body.rstrip("\n")
        _, place = StopStrings((self._end,)).cut(body)  # of what may be its beginning
        shown = body[:place].rstrip("\n")
        self._held = body[len(shown) :]
        self._has_text |= bool(shown)
        return shown

    def _answer(self) -> str:
        if self.has_ended and not self._has_text:
            self._held = self._held.lstrip("\n")
        held, self._held = self._held, ""
        self._has_text |= bool(held)
        return held
