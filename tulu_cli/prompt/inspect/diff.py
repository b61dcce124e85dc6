"""How two chat templates differ, on conversations that bring out what templates do differently."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Any

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.limits import on_one_budget


def turns(*contents: str, system: str | None = None) -> Conversation:
    """Return a conversation of these contents, the user first."""
    roles = ("user", "assistant")
    said = [Message(roles[index % 2], content) for index, content in enumerate(contents)]
    return (*(() if system is None else (Message("system", system),)), *said)


@dataclass(frozen=True, slots=True)
class Probe:
    """A conversation to try templates with; `asked` is for a generation prompt."""

    messages: Conversation
    asked: bool = False
    tools: tuple[dict[str, Any], ...] | None = None
    documents: tuple[dict[str, str], ...] | None = None


_CITY = {"type": "string", "description": "A city."}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": _CITY}, "required": ["city"]},
    },
}
_DOCUMENT = {"title": "Rome", "text": "Rome is sunny."}


def _call(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": {"city": city}}
    return {"id": f"call{city}", "type": "function", "function": function}


def _called(content: str | None, *cities: str) -> Conversation:
    """Return a question, the calls that answer it, a result of each, and an answer."""
    null = {"content": None} if content is None else {}
    calls = Message("assistant", content or "", {**null, "tool_calls": [*map(_call, cities)]})
    results = [
        Message("tool", f"21 degrees in {city}", {"name": "weather", "tool_call_id": f"call{city}"})
        for city in cities
    ]
    return (Message("user", "Weather?"), calls, *results, Message("assistant", "It is warm."))


_REASONED = Message("assistant", "So.", {"reasoning_content": "Hm."})
_PARTS = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
_CALLED = _called("", "Rome")
PROBES: dict[str, Probe] = {
    "a question": Probe(turns("Hi"), asked=True),
    "no generation prompt": Probe(turns("Hi")),
    "an answer": Probe(turns("Hi", "Hello")),
    "a second turn": Probe(turns("Hi", "Hello", "Bye"), asked=True),
    "a system message": Probe(turns("Hi", "Hello", system="Be brief.")),
    "a system message alone": Probe((Message("system", "Be brief."),), asked=True),
    "a system message in the middle": Probe(
        (*turns("Hi", "Hello"), Message("system", "Be brief."), Message("user", "Bye")), asked=True
    ),
    "an empty question": Probe(turns(""), asked=True),
    "an empty answer": Probe(turns("Hi", "")),
    "white space around": Probe(turns(" \n Hi \n ", "\n\nHello\n")),
    "thoughts": Probe(turns("Why?", "<think>\nHm.\n</think>\n\nSo.", "And?", "<think>x</think>y")),
    "reasoning_content": Probe(
        (Message("user", "Why?"), _REASONED, Message("user", "And?"), _REASONED)
    ),
    "two questions": Probe((Message("user", "Hi"), Message("user", "Hello?")), asked=True),
    "the assistant first": Probe(
        (Message("assistant", "Hello"), Message("user", "Hi")), asked=True
    ),
    "an unusual role": Probe((Message("user", "Hi"), Message("critic", "No.")), asked=True),
    "a list of parts": Probe((Message("user", "One.Two.", {"content": _PARTS}),), asked=True),
    "tools": Probe(turns("Hi"), asked=True, tools=(_TOOL,)),
    "tools and a system message": Probe(
        turns("Hi", system="Be brief."), asked=True, tools=(_TOOL,)
    ),
    "a tool call": Probe(_CALLED[:2], tools=(_TOOL,)),
    "a tool call without tools": Probe(_CALLED[:3], asked=True),
    "a tool result": Probe(_CALLED[:3], asked=True, tools=(_TOOL,)),
    "an answer after a tool result": Probe(_CALLED, tools=(_TOOL,)),
    "content null beside a tool call": Probe(_called(None, "Rome"), tools=(_TOOL,)),
    "two tool calls and results": Probe(_called("I ask.", "Rome", "Oslo"), tools=(_TOOL,)),
    "documents": Probe(turns("Hi"), asked=True, documents=(_DOCUMENT,)),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a template makes of a probe: a prompt, or the sentence with which it refuses it."""

    text: str
    refused: bool = False

    def __str__(self) -> str:
        """Return the prompt, or the sentence in parentheses."""
        return f"({self.text})" if self.refused else self.text


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two templates make of one probe."""

    probe: str
    left: Outcome
    right: Outcome

    @property
    def refused(self) -> bool:
        """Return True if both templates refuse the probe, whatever they say: it shows nothing."""
        return self.left.refused and self.right.refused

    @property
    def same(self) -> bool:
        """Return True if both templates make the same prompt, or none."""
        return self.refused or self.left == self.right

    def lines(self, left: str, right: str) -> list[str]:
        """Return the difference as `diff -u` shows it, with these names."""
        texts = (_lines(str(self.left)), _lines(str(self.right)))
        return list(unified_diff(*texts, left, right, lineterm=""))


@on_one_budget
def try_out(writer: PromptWriter) -> list[Outcome]:
    """Return what a template makes of each of PROBES.

    Raise BadInput if it refuses all of them, and TemplateExhausted if it takes too much.
    """
    outcomes = [_outcome(writer, probe) for probe in PROBES.values()]
    if all(outcome.refused for outcome in outcomes):
        raise BadInput(f"None of the {len(PROBES)} conversations is rendered. {outcomes[0].text}")
    return outcomes


def compare(left: Sequence[Outcome], right: Sequence[Outcome]) -> list[Comparison]:
    """Compare what `try_out` says of two templates, probe by probe."""
    return [Comparison(*row) for row in zip(PROBES, left, right, strict=True)]


def _outcome(writer: PromptWriter, probe: Probe) -> Outcome:
    if probe.documents is not None:
        writer = replace(writer, kwargs={**writer.kwargs, "documents": list(probe.documents)})
    try:
        return Outcome(writer.render(probe.messages, asked=probe.asked, tools=probe.tools))
    except BadInput as error:
        return Outcome(str(error), refused=True)


def _lines(text: str) -> list[str]:
    """Lines with their ends in sight, as that is where templates differ."""
    return [line.replace("\n", "\\n") for line in text.splitlines(keepends=True)]
