"""The formats that are JSON: those of other programs, and one that holds all that we know.

A document is one conversation, an array of them, or one of them a line. Which format a conversation
is in shows in its keys.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tulu_cli.chat.session import Session, session_of
from tulu_cli.chat.store.json import VERSION_KEY, session_from_value, session_to_value
from tulu_cli.disk import decode_utf8, parse_json
from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.formats import Row, format_named, parts, read_row, refuse_unusable


def write_jsonl(sessions: Sequence[Session]) -> str:
    """Return a line for each session, with the columns of allenai/tulu-3-sft-mixture."""
    rows = (_written(session, "tulu", id=session.id, source="tulu") for session in sessions)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_openai(sessions: Sequence[Session]) -> str:
    """Return the messages of one session, as the body of a request to a chat API has them."""
    (session,) = sessions
    return _pretty(_written(session, "openai"))


def write_sharegpt(sessions: Sequence[Session]) -> str:
    """Return an array of conversations, whose turns have a `from` and a `value`."""
    return _pretty([_written(session, "sharegpt", id=session.id) for session in sessions])


def write_tulu(sessions: Sequence[Session]) -> str:
    """Return everything: all branches, and how each answer was made."""
    return _pretty([session_to_value(session) for session in sessions])


def read(data: bytes, source: str) -> list[Session]:
    """Return the sessions in a document.

    Raise BadInput, which names the line where there are several, for what is not a conversation.
    """
    text = decode_utf8(data, source).removeprefix("\ufeff")
    if not text.strip():
        raise BadInput(f"{source} is empty: there is no conversation in it.")
    try:
        return [_session(value, place) for place, value in _values(text, source)]
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deeply to be read.") from error


def _written(session: Session, name: str, **rest: Any) -> Any:
    return format_named(name).write(Row(session.conversation(), rest))


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _values(text: str, source: str) -> Iterator[tuple[str, Any]]:
    """Yield each conversation's value, and where it stands."""
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
    for path, item in parts("", value):
        refuse_unusable(item, source, path.lstrip("."))
    return session_of(read_row(value, source).messages)


def _is_message(value: Any) -> bool:
    return not isinstance(value, dict) or "role" in value


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
