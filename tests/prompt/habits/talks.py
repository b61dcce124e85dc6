"""Conversations for the templates: plain JSON, of what each of them takes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

from tulu_cli.core import Message

# From the name of a place in a conversation to the texts that can stand there.
Words = Callable[[str], st.SearchStrategy[str]]

_PHASES = tuple(phase for phase in Phase if phase != Phase.explain)  # which takes longer than all


def examples(count: int) -> settings:
    """So many examples of each template."""
    return settings(max_examples=count, phases=_PHASES)


@dataclass(frozen=True)
class Talk:
    """A conversation with what stands beside it."""

    messages: tuple[Message, ...]
    tools: list[dict[str, Any]] | None = None
    documents: list[dict[str, Any]] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of `render_chat` that are of the conversation."""
        kwargs = {"documents": self.documents} if self.documents else {}
        return {"tools": self.tools, "kwargs": kwargs}


def read(value: Mapping[str, Any]) -> Talk:
    """The talk in an object with `messages`, `tools` and `documents`."""
    messages = tuple(map(read_message, value["messages"]))
    return Talk(messages, value.get("tools"), value.get("documents"))


def read_message(value: Mapping[str, Any]) -> Message:
    """The message in an object; what is not a text as its content stays beside it."""
    extra = {key: item for key, item in value.items() if key not in ("role", "content")}
    content = value.get("content")
    if isinstance(content, str):
        return Message(value["role"], content, extra)
    if "content" in value:
        extra = {"content": content, **extra}
    text = "".join(str(part.get("text", "")) for part in content or ())
    return Message(value["role"], text, extra)


def as_parts(message: Message) -> Message:
    """The message with its content as a list of parts."""
    parts = [{"type": "text", "text": message.content}]
    return Message(message.role, message.content, {**message.extra, "content": parts})


def tool(words: Sequence[str]) -> dict[str, Any]:
    """A schema of a function of that name, with one parameter of the other names."""
    name, about, field, enum, required = words
    fields = {field: {"type": "string", "description": about, "enum": [enum]}}
    parameters = {"type": "object", "properties": fields, "required": [required]}
    function = {"name": name, "description": about, "parameters": parameters}
    return {"type": "function", "function": function}


def full(takes: Collection[str]) -> dict[str, Any]:
    """A conversation with everything that the template takes, each text another one."""

    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if "parts" in takes else text

    answer: dict[str, Any] = {"role": "assistant", "content": content("Grün.")}
    if "thoughts" in takes:
        answer["reasoning_content"] = "Wald und Wiese."
    rounds = [{"role": "user", "content": content("Welche Farbe?"), "name": "Gast"}, answer]
    if "calls" in takes:
        function = {"name": "suche", "arguments": {"wort": "Wetter", "orte": ["Ulm", "Kiel"]}}
        call = {"type": "function", "id": "ruf-1", "function": function}
        asking = {"role": "assistant", "content": None, "tool_calls": [call]}
        results = [{"role": "tool", "content": "Regen", "name": "suche", "tool_call_id": "ruf-1"}]
        rounds += [{"role": "user", "content": content("Wie wird es?")}, asking]
        rounds += [*(results if "results" in takes else ()), {**answer, "content": "Nass."}]
    rounds += [{"role": "user", "content": content("Danke!")}]
    made: dict[str, Any] = {"messages": rounds}
    if "system" in takes:
        rounds.insert(0, {"role": "system", "content": content("Sei kurz.")})
    if "tools" in takes:
        made["tools"] = [tool(("suche", "Sucht etwas.", "wort", "Wetter", "wort"))]
    if "documents" in takes:
        made["documents"] = [{"title": "Band 1", "text": "Es war einmal."}]
    return made


def plain_talks(takes: Collection[str], words: Words) -> st.SearchStrategy[Talk]:
    """Rounds of user and assistant with texts alone, the last of them perhaps not answered."""
    return talks({"system", "parts"} & set(takes), words)


@st.composite
def talks(draw: st.DrawFn, takes: Collection[str], words: Words) -> Talk:
    """Up to three rounds of what a template takes, the last of them perhaps not answered."""

    def flip(word: str) -> bool:
        return word in takes and draw(st.booleans())

    def said(place: str) -> Any:
        text = draw(words(place))
        return [{"type": "text", "text": text}] if flip("parts") else text

    parts: list[dict[str, Any]] = []
    if flip("system"):
        parts.append({"role": "system", "content": said("system")})
    rounds = draw(st.integers(1, 3))
    answered = draw(st.booleans())
    for at in range(rounds):
        parts.append({"role": "user", "content": said(f"user{at}")})
        if flip("calls"):
            parts += _calling(draw, takes, words, at)
        if at < rounds - 1 or answered:
            answer = {"role": "assistant", "content": said(f"answer{at}")}
            if flip("thoughts"):
                answer["reasoning_content"] = draw(words(f"thought{at}"))
            parts.append(answer)
    made: dict[str, Any] = {"messages": parts}
    if flip("tools"):
        names = ("name", "about", "field", "enum", "required")
        made["tools"] = [tool([draw(words(f"tool{name}")) for name in names])]
    if flip("documents"):
        document = {"title": draw(words("title")), "text": draw(words("text"))}
        made["documents"] = [document]
    return read(made)


def _calling(
    draw: st.DrawFn, takes: Collection[str], words: Words, at: int
) -> list[dict[str, Any]]:
    """A call of a tool by the assistant, and its result."""
    value = draw(st.one_of(words(f"value{at}"), st.sampled_from([1, None, True, [0.5, {}]])))
    arguments: Any = {draw(words(f"key{at}")): value}
    if draw(st.integers(0, 3)) == 0:
        arguments = draw(words(f"value{at}"))
    call = {
        "type": "function",
        "id": draw(words(f"id{at}")),
        "function": {"name": draw(words(f"call{at}")), "arguments": arguments},
    }
    content = None if "null" in takes and draw(st.booleans()) else draw(words(f"said{at}"))
    asking = {"role": "assistant", "content": content, "tool_calls": [call]}
    if "results" not in takes:
        return [asking]
    result = {"role": "tool", "content": draw(words(f"result{at}")), "name": draw(words("by"))}
    return [asking, result]
