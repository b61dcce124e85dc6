"""Reading the formats that are JSON: which one it is shows in the keys of each conversation.

A document is one conversation, an array of them, or one of them a line.
"""

import json
from collections.abc import Iterator
from typing import Any

from tulu_cli.chat.export.json_forms import SHAREGPT
from tulu_cli.chat.session import Session, session_of
from tulu_cli.chat.store.json import VERSION_KEY, session_from_value
from tulu_cli.disk import parse_json
from tulu_cli.errors import BadInput
from tulu_cli.prompt import decode_utf8, parse_messages

_ROLES = {name: role for role, name in SHAREGPT.items()} | {"chatgpt": "assistant"}


def read(data: bytes, source: str) -> list[Session]:
    """The sessions in a document. Raises BadInput, which names the line where there are several."""
    text = decode_utf8(data, source).removeprefix("\ufeff")
    if not text.strip():
        raise BadInput(f"{source} is empty: there is no conversation in it.")
    try:
        return [_session(value, place) for place, value in _values(text, source)]
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deeply to be read.") from error


def _values(text: str, source: str) -> Iterator[tuple[str, Any]]:
    """Each conversation's value, and where it stands."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and _is_json(lines[0][1]):
        for number, line in lines:
            place = f"{source} line {number}"
            yield place, parse_json(line, place)
        return
    value = parse_json(text, source)
    if isinstance(value, list) and value and not _is_message(value[0]):
        yield from ((f"{source} [{index}]", item) for index, item in enumerate(value))
    else:
        yield source, value


def _session(value: Any, source: str) -> Session:
    if isinstance(value, dict) and VERSION_KEY in value:
        return session_from_value(value, source)
    if isinstance(value, dict) and "conversations" in value:
        value = {"messages": _from_sharegpt(value["conversations"], source)}
    return session_of(parse_messages(json.dumps(value).encode(), source))


def _from_sharegpt(turns: Any, source: str) -> Any:
    if not isinstance(turns, list):
        raise BadInput(f"{source}: conversations must be an array.")
    return [_message(turn, f"conversations[{index}]", source) for index, turn in enumerate(turns)]


def _message(turn: Any, path: str, source: str) -> dict[str, str]:
    if not isinstance(turn, dict) or not all(
        isinstance(turn.get(key), str) for key in ("from", "value")
    ):
        raise BadInput(f"{source}: {path} must be an object with the texts `from` and `value`.")
    return {"role": _ROLES.get(turn["from"], turn["from"]), "content": turn["value"]}


def _is_message(value: Any) -> bool:
    return not isinstance(value, dict) or "role" in value


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
