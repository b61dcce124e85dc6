"""Rules about conversations: contents that pretend to be turns, and roles out of order."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.chat import Variables
from tulu_cli.prompt.inspect.grammar import find_markers
from tulu_cli.prompt.inspect.lint.finding import Finding, LintTarget
from tulu_cli.prompt.limits import BUDGET
from tulu_cli.prompt.tracing import spans_of


def lint_conversation(
    target: LintTarget,
    messages: Sequence[Message],
    place: str,
    tools: Sequence[Variables] | None = None,
) -> list[Finding]:
    """Return T100 to T105 for one conversation, which `place` names, with its own tools.

    Raise TemplateExhausted if the template takes too much for it.
    """
    with BUDGET:
        return list(_findings(target, messages, place, tools))


def _findings(
    target: LintTarget,
    messages: Sequence[Message],
    place: str,
    tools: Sequence[Variables] | None,
) -> Iterator[Finding]:
    control = target.writer.vocabulary.control_texts
    for index, marker in find_markers(messages, target.markers):
        yield Finding(
            "T100",
            "error",
            f"messages[{index}].content holds {marker}, which reads as the beginning of a turn.",
            "Remove it, or refuse it with --strict-roles.",
            place,
        )
    for index, message in enumerate(messages):
        for token in dict.fromkeys(control.split(message.content)[1::2]):
            yield Finding(
                "T101",
                "warning",
                f"messages[{index}].content holds the text of the control token {token}. tulu "
                "gives it to the model as text; other programs make the control token of it.",
                "Remove it, unless it is meant as text.",
                place,
            )
    yield from order(messages, place)
    try:
        text: str | None = target.writer.text(messages, tools)
    except BadInput as error:
        text = None
        yield Finding("T103", "error", str(error), "Change the conversation.", place)
    if text is not None:
        yield from lost(target, messages, place, tools)
    yield from written_arguments(target, messages, text, place, tools)


def lost(
    target: LintTarget,
    messages: Sequence[Message],
    place: str,
    tools: Sequence[Variables] | None,
) -> Iterator[Finding]:
    """T104: a text of which nothing is in the prompt."""
    shown_ones = contents_shown(target, messages, tools)
    for index, message in enumerate(messages):
        said = message.role in ("user", "system") and message.content.strip()
        if not said or shown_ones is None or index in shown_ones:
            continue
        parts = [{"type": "text", "text": message.content}]
        as_parts = replace(message, extra={**message.extra, "content": parts})
        changed = [*messages[:index], as_parts, *messages[index + 1 :]]
        fix = "Use another template, or leave the message out."
        if index in (contents_shown(target, changed, tools) or ()):
            fix = 'Give the content as parts: [{"type": "text", "text": ...}].'
        what = f"The template drops the text of messages[{index}], the {message.role}'s."
        yield Finding("T104", "error", what, fix, place)


def contents_shown(
    target: LintTarget, messages: Sequence[Message], tools: Sequence[Variables] | None
) -> set[int | None] | None:
    """Return the numbers of the messages of whose content a part is in the prompt.

    Return None if the template refuses the conversation.
    """
    try:
        text = target.writer.traced(messages, asked=target.writer.asks(messages), tools=tools)
    except BadInput:
        return None
    origins = [span.origin for span in spans_of(text)]
    return {origin.message for origin in origins if origin.key == "content"}


def written_arguments(
    target: LintTarget,
    messages: Sequence[Message],
    text: str | None,
    place: str,
    tools: Sequence[Variables] | None,
) -> Iterator[Finding]:
    """T105: arguments of a call as a JSON text, where the template writes an object otherwise."""
    parsed, texts = with_objects(messages)
    if not texts or shown(target, parsed, tools) in (None, text):
        return
    if text is not None and all('"' in one and one in text for one in texts):
        return  # it shows a text as it is
    yield Finding(
        "T105",
        "error" if text is None else "warning",
        "The arguments of a call are a JSON text, as OpenAI has them, and the template expects an "
        "object. vLLM reads the text before it renders; transformers and tulu do not.",
        'Give them as an object: "arguments": {"city": "Oslo"}.',
        place,
    )


def with_objects(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Return the messages with the arguments of calls as objects, and the texts that those were."""
    texts: list[str] = []
    read = []
    for message in messages:
        calls = message.extra.get("tool_calls")
        changed = [with_object(call, texts) for call in calls] if isinstance(calls, list) else []
        extra = {**message.extra, "tool_calls": changed} if changed else message.extra
        read.append(replace(message, extra=extra))
    return read, texts


def with_object(call: Any, texts: list[str]) -> Any:
    """Return a call with an object as its arguments; add the text, if it was one, to `texts`."""
    function = call.get("function") if isinstance(call, dict) else None
    text = function.get("arguments") if isinstance(function, dict) else None
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return call
    if function is None or text is None or not isinstance(value, dict):
        return call
    texts.append(text)
    return {**call, "function": {**function, "arguments": value}}


def shown(
    target: LintTarget, messages: Sequence[Message], tools: Sequence[Variables] | None
) -> str | None:
    """Return the prompt, or None if the template refuses the conversation."""
    try:
        return target.writer.text(messages, tools)
    except BadInput:
        return None


def order(messages: Sequence[Message], place: str) -> Iterator[Finding]:
    """T102: turns that most models have never seen in this order."""
    roles = [message.role for message in messages if message.role != "system"]
    if roles[:1] == ["assistant"]:
        yield misplaced("The assistant speaks first.", place)
    for role in ("user", "assistant"):
        if any(pair == (role, role) for pair in pairwise(roles)):
            yield misplaced(f"Two turns of the role {role} follow one another.", place)
    if any(message.role == "system" for message in messages[1:]):
        yield misplaced("A system message stands behind the beginning.", place)


def misplaced(message: str, place: str) -> Finding:
    """Return the finding for roles out of order."""
    return Finding("T102", "warning", message, "Let user and assistant take turns.", place)
