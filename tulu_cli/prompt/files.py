"""Text and JSON out of files and streams, with errors that say where: line, column or byte."""

import json
from pathlib import Path
from typing import Any

from tulu_cli.errors import BadInput


def decode_utf8(data: bytes, source: str) -> str:
    """The text of `data`; raises BadInput naming the offset (from 0) of the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. "
            "Convert it to UTF-8 first."
        ) from error


def parse_json(text: str, source: str) -> Any:
    """The value of a JSON text; raises BadInput with the line and column of the mistake."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{source} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deeply to be read as JSON.") from error
    except ValueError as error:
        raise BadInput(f"{source} is not valid JSON: {error}.") from error


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, None where there is no such file; raises BadInput."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def read_text(path: Path) -> str | None:
    """The text of a file, None where there is no such file; raises BadInput."""
    data = read_bytes(path)
    return None if data is None else decode_utf8(data, str(path))


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file; raises BadInput."""
    text = read_text(path)
    if text is None:
        return {}
    value = parse_json(text, str(path))
    if not isinstance(value, dict):
        raise BadInput(f"{path} must hold a JSON object.")
    return value
