"""A conversation out of JSON: OpenAI's shape, a bare array or an object with `messages`."""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.files import decode_utf8, parse_json

SURROGATE = re.compile("[\ud800-\udfff]")
DEEPEST = 100  # levels; far below where a recursive walk would fail


def parse_messages(data: bytes, source: str) -> Conversation:
    """The messages in a JSON document; `source` names it in errors.

    A message is an object with role and content; its other keys go to the chat template. Content
    is a text or a list of text parts, which are joined; it may be null beside tool_calls. Other
    keys of an object around `messages` are not read. Raises BadInput: byte, line and column, or
    the path of what is wrong.
    """
    text = decode_utf8(data, source).removeprefix("\ufeff")
    value = parse_json(text, source)
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise BadInput(f"{source} must be an array of messages, or an object with `messages`.")
    if not messages:
        raise BadInput(f"{source} has no message: the array is empty.")
    refuse_unusable(messages, source)
    return tuple(
        parse_message(message, f"messages[{index}]", source)
        for index, message in enumerate(messages)
    )


def parse_message(value: Any, path: str, source: str) -> Message:
    """One message; `path` is where it stands in the document."""
    if not isinstance(value, dict):
        refuse(source, path, "must be an object with role and content")
    extra = {key: item for key, item in value.items() if key not in ("role", "content")}
    return Message(parse_role(value, path, source), parse_content(value, path, source), extra)


def is_plain(value: Any) -> bool:
    """Whether a value is a message of role and text alone, as nearly all are."""
    if type(value) is not dict or len(value) != 2 or not value.get("role"):
        return False
    return type(value["role"]) is str is type(value.get("content"))


def parse_role(message: dict[str, Any], path: str, source: str) -> str:
    """The role: a text that is not empty."""
    if "role" not in message:
        refuse(source, f"{path}.role", "is missing")
    role = message["role"]
    if not isinstance(role, str) or not role:
        refuse(source, f"{path}.role", "must be a text such as user or assistant")
    return role


def parse_content(message: dict[str, Any], path: str, source: str) -> str:
    """The content as one text."""
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return ""
    if "content" not in message:
        refuse(source, f"{path}.content", "is missing")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        refuse(source, f"{path}.content", "must be a text or a list of text parts")
    return "".join(
        parse_part(part, f"{path}.content[{index}]", source) for index, part in enumerate(content)
    )


def parse_part(part: Any, path: str, source: str) -> str:
    """The text of one part of a content list."""
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
    """What is directly inside a value, each with its path; the keys of an object too."""
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
