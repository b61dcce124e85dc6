"""The shapes in which conversations are kept, each a row here: how to know, read and write it.

Reading gives the messages and whatever else the row holds; the rest is written again by formats
that are objects. Errors name the JSON path.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from tulu_cli.core import Conversation, Message
from tulu_cli.disk import decode_utf8, parse_json
from tulu_cli.errors import BadInput, UsageError

SURROGATE = re.compile("[\ud800-\udfff]")
DEEPEST = 100  # levels; far below where a recursive walk would fail


def parse_messages(data: bytes, source: str) -> Conversation:
    """Return the messages in a JSON document; `source` names it in errors.

    A message is an object with role and content; its other keys go to the chat template. Content
    is a text or a list of text parts; it may be null or missing beside tool_calls, or where an
    assistant's message holds something else. Other keys of an object around `messages` are not
    read. Raise BadInput with the byte, the line and column, or the path of what is wrong.
    """
    text = decode_utf8(data, source).removeprefix("\ufeff")
    value = parse_json(text, source)
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise BadInput(f"{source} must be an array of messages, or an object with `messages`.")
    if not messages:
        raise BadInput(f"{source} has no message: the array is empty.")
    refuse_unusable(messages, source)
    return read_messages(messages, "messages", source)


def parse_message(value: Any, path: str, source: str) -> Message:
    """Return one message; `path` is where it stands in the document."""
    if not isinstance(value, dict):
        refuse(source, path, "must be an object with role and content")
    given = isinstance(value.get("content"), str) or "content" not in value
    known = ("role", "content") if given else ("role",)
    extra = rest_of(value, *known)
    role, content = parse_role(value, path, source), parse_content(value, path, source)
    message = Message(role, content, extra)
    if list(value) == list(message.as_dict()):
        return message
    return replace(message, keys=tuple(value))


def plain_message(value: Any) -> Message | None:
    """Return the message if it is role and text alone, as nearly all are; else None."""
    if not isinstance(value, dict) or len(value) != 2 or next(iter(value)) != "role":
        return None
    role, content = value.get("role"), value.get("content")
    if role and isinstance(role, str) and isinstance(content, str):
        return Message(role, content)
    return None


def parse_role(message: dict[str, Any], path: str, source: str) -> str:
    """Return the role, a text that is not empty."""
    if "role" not in message:
        refuse(source, f"{path}.role", "is missing")
    role = message["role"]
    if not isinstance(role, str) or not role:
        refuse(source, f"{path}.role", "must be a text such as user or assistant")
    return role


def parse_content(message: dict[str, Any], path: str, source: str) -> str:
    """Return the content as one text: that of its parts, none for null."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    answers = message.get("role") == "assistant" and _holds_more(message)
    if content is None and (message.get("tool_calls") or answers):
        return ""
    if "content" not in message:
        refuse(source, f"{path}.content", "is missing")
    if not isinstance(content, list):
        refuse(source, f"{path}.content", "must be a text or a list of text parts")
    return "".join(
        parse_part(part, f"{path}.content[{index}]", source) for index, part in enumerate(content)
    )


def _holds_more(message: dict[str, Any]) -> bool:
    """Return True if something stands beside the content, such as reasoning_content."""
    beside = rest_of(message, "role", "content", "name", "id")
    return any(isinstance(item, (str, list, dict)) and item for item in beside.values())


def parse_part(part: Any, path: str, source: str) -> str:
    """Return the text of one part of a content list."""
    if not isinstance(part, dict) or part.get("type") != "text":
        refuse(source, path, 'must be {"type": "text", "text": ...}: only text can be sent')
    if not isinstance(part.get("text"), str):
        refuse(source, f"{path}.text", "must be a text")
    return str(part["text"])


def refuse_unusable(value: Any, source: str, path: str = "messages") -> None:
    """Raise BadInput for half a surrogate pair, which has no UTF-8 form, and for deep nesting."""
    todo: list[tuple[int, str, Any]] = [(0, path, value)]
    while todo:
        depth, path, value = todo.pop()
        if isinstance(value, str) and SURROGATE.search(value):
            refuse(source, path, "has a lone surrogate, which is not a character")
        if depth > DEEPEST:
            refuse(source, path[:80], f"is nested more than {DEEPEST} levels deep")
        todo += [(depth + 1, place, item) for place, item in parts(path, value)]


def parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each item that is directly in a value, with its path; the keys of an object too."""
    if isinstance(value, list):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    if isinstance(value, dict):
        yield from ((f"{path}.{key}", item) for key, item in value.items())
        yield from ((f"{path} (a key)", key) for key in value)


def refuse(source: str, path: str, complaint: str) -> NoReturn:
    """Raise BadInput for the value at `path`."""
    # The path may end in a key of the document, which need not be encodable.
    shown = path.encode("utf-8", "backslashreplace").decode()
    raise BadInput(f"{source}: {shown} {complaint}.")


ANSWERS = ("response", "completion", "output", "answer")
_FROM_SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
_TO_SHAREGPT = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation; `rest` are the other keys of the object around it."""

    messages: Conversation
    rest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """A shape: what it looks like, and the two ways through it."""

    name: str
    looks: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, str], Row]
    write: Callable[[Row], Any]


def read_row(value: Any, source: str, name: str = "auto") -> Row:
    """Return the conversation in a JSON value; `source` names it in errors. Raise BadInput."""
    if name != "auto":
        chosen = format_named(name)
        if not chosen.recognises(value):
            raise BadInput(f"{source} is not in the format {name}: {chosen.looks} is expected.")
    else:
        found = recognise(value)
        if found is None:
            shapes = "; ".join(f"{one.name}: {one.looks}" for one in FORMATS)
            raise BadInput(f"{source} is in no format that is known. They are: {shapes}.")
        chosen = found
    row = chosen.read(value, source)
    if not row.messages:
        raise BadInput(f"{source} has no message: the array is empty.")
    return row


def recognise(value: Any) -> Format | None:
    """Return the format that a value is in, or None."""
    for one in FORMATS:
        if one.recognises(value):
            return one
    return None


def format_named(name: str) -> Format:
    """Return the format of this name. Raise UsageError if there is none."""
    for one in FORMATS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in FORMATS)
    raise UsageError(f"There is no conversation format {name!r}: choose from {names}.")


def read_messages(messages: Any, path: str, source: str) -> Conversation:
    """Return messages with role and content. Raise BadInput."""
    if not isinstance(messages, list):
        refuse(source, path, "must be an array of messages")
    return tuple(
        [
            plain_message(message) or parse_message(message, f"{path}[{index}]", source)
            for index, message in enumerate(messages)
        ]
    )


def write_messages(messages: Conversation) -> list[dict[str, Any]]:
    """Return messages as objects."""
    return [message.as_dict() for message in messages]


def tools_of(row: Row) -> list[Any] | None:
    """Return the tools that a row in OpenAI's format brings along."""
    tools = row.rest.get("tools")
    return tools if isinstance(tools, list) and tools else None


def rest_of(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object without these keys."""
    return {key: item for key, item in value.items() if key not in keys}


def _read_bare(value: Any, source: str) -> Row:
    return Row(read_messages(value, "messages", source))


def _write_bare(row: Row) -> Any:
    return write_messages(row.messages)


def _read_openai(value: Any, source: str) -> Row:
    messages = read_messages(value["messages"], "messages", source)
    return Row(messages, rest_of(value, "messages"))


def _write_openai(row: Row) -> Any:
    return {**row.rest, "messages": write_messages(row.messages)}


def _write_tulu(row: Row) -> Any:
    """Return a row of the Tülu 3 SFT mixture: id, messages and source."""
    known = {"id": row.rest.get("id", ""), "messages": write_messages(row.messages)}
    return known | {"source": row.rest.get("source", "")} | rest_of(row.rest, "id", "source")


def _read_sharegpt(value: Any, source: str) -> Row:
    turns = value["conversations"]
    if not isinstance(turns, list):
        refuse(source, "conversations", "must be an array of turns")
    messages = tuple(
        _read_turn(turn, f"conversations[{index}]", source) for index, turn in enumerate(turns)
    )
    return Row(messages, rest_of(value, "conversations"))


def _read_turn(turn: Any, path: str, source: str) -> Message:
    if not isinstance(turn, dict):
        refuse(source, path, "must be an object with from and value")
    if "from" not in turn and "role" in turn:
        return _read_mixed(turn, path, source)
    role = _FROM_SHAREGPT.get(str(turn.get("from")))
    if role is None:
        refuse(source, f"{path}.from", f"must be one of {', '.join(_FROM_SHAREGPT)}")
    key = "content" if "content" in turn and "value" not in turn else "value"
    if not isinstance(turn.get(key), str):
        refuse(source, f"{path}.{key}", "must be a text")
    return Message(role, turn[key], rest_of(turn, "from", key))


def _read_mixed(turn: dict[str, Any], path: str, source: str) -> Message:
    """Return a turn of `conversations` that is written as a message, as many data sets do."""
    if "content" not in turn and isinstance(turn.get("value"), str):
        turn = {**rest_of(turn, "value"), "content": turn["value"]}
    message = parse_message(turn, path, source)
    return replace(message, role=_FROM_SHAREGPT.get(message.role, message.role))


def _write_sharegpt(row: Row) -> Any:
    turns = [
        {"from": _TO_SHAREGPT.get(m.role, m.role), "value": m.content, **m.extra}
        for m in (message.as_text() for message in row.messages)
    ]
    return {**row.rest, "conversations": turns}


def _answer_key(value: Any) -> str | None:
    return next((key for key in ANSWERS if key in value), None)


def _read_pair(value: Any, source: str) -> Row:
    answer = _answer_key(value)
    parts = {"system": "system", "prompt": "user"} | ({answer: "assistant"} if answer else {})
    messages: list[Message] = []
    for key, role in parts.items():
        if key in value:
            messages += read_side(value[key], role, key, source)
    return Row(tuple(messages), rest_of(value, *parts))


def read_side(value: Any, role: str, path: str, source: str) -> Conversation:
    """Return a prompt or its answer: a text of that role, or messages as TRL has them.

    https://huggingface.co/docs/trl/dataset_formats calls the latter conversational. Raise BadInput.
    """
    if isinstance(value, str):
        return (Message(role, value),)
    if role == "system" or not isinstance(value, list):
        refuse(source, path, "must be a text")
    if not all(isinstance(one, dict) for one in value):
        refuse(source, path, "must be a text or an array of messages")
    return read_messages(value, path, source)


def _write_pair(row: Row) -> Any:
    roles = tuple(message.role for message in row.messages)
    keys = {"system": "system", "user": "prompt", "assistant": "response"}
    if roles[roles[0] == "system" :] not in (("user",), ("user", "assistant")):
        shown = ", ".join(roles[:6])
        raise BadInput(f"It is more than a pair, one prompt and one response: {shown}.")
    return {**row.rest, **{keys[m.role]: m.content for m in row.messages}}


def _has(key: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and key in value


FORMATS = (
    Format(
        "messages",
        "an array [{role, content}, ...]",
        lambda value: isinstance(value, list),
        _read_bare,
        _write_bare,
    ),
    Format(
        "openai",
        "an object {messages: [{role, content}, ...], ...}",
        _has("messages"),
        _read_openai,
        _write_openai,
    ),
    Format(
        "tulu",
        "a row of the Tülu 3 SFT mixture {id, messages, source}",
        _has("messages"),
        _read_openai,
        _write_tulu,
    ),
    Format(
        "sharegpt",
        "an object {conversations: [{from, value}, ...]}, or with role and content",
        _has("conversations"),
        _read_sharegpt,
        _write_sharegpt,
    ),
    Format(
        "pairs",
        "an object {prompt, response} (or completion, output, answer), each a text or an array of "
        "messages, system if there is one",
        _has("prompt"),
        _read_pair,
        _write_pair,
    ),
)
