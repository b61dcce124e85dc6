"""A streamed answer as events: server-sent events, and what servers send in their place.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Beyond that,
llama.cpp has sent refusals in a field named `error`, and others send JSON objects in no field.
"""

import json
from collections.abc import Iterable, Iterator

from tulu_cli.engines.remote.transport import LONGEST

DONE = b"[DONE]"
ERROR = b"error"  # the name of an event that refuses the request
_FIELDS = (b"data:", b"event:", b"error:", b"id:", b"retry:", b":")
_ENOUGH = max(map(len, _FIELDS))
_MARK = b"\xef\xbb\xbf"  # the byte order mark that a stream may begin with


def begin_of(pieces: Iterator[bytes]) -> bytes:
    """Read as much of a body as tells `begins_with_event`, or all of it if it is shorter."""
    begin = b""
    for piece in pieces:
        begin += piece
        if len(begin.removeprefix(_MARK).lstrip()) >= _ENOUGH or len(begin) > LONGEST:
            break
    return begin


def begins_with_event(body: bytes) -> bool:
    """Return True for the beginning of a stream of events, whatever its type is called."""
    return body.removeprefix(_MARK).lstrip().startswith(_FIELDS)


def events(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the data of each event; the name is empty for most.

    `pieces` are the bytes of the stream, cut anywhere. Comments, other fields and events without
    data are left out. A JSON object in no field is an event too. What comes before the end of the
    stream without an empty line is dropped, unless it is whole. Raise ValueError for an event of
    more than LONGEST bytes.
    """
    name, size = b"", 0
    data: list[bytes] = []
    bare: list[bytes] = []
    for line in _lines(pieces):
        size += len(line)
        _check_size(size)
        if bare or (not data and line.lstrip().startswith(b"{")):
            bare.append(line)
            if line and not _ends_object(bare):
                continue
            yield name, b"\n".join(bare)
            name, bare, size = b"", [], 0
        elif line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif line.startswith(b"error:"):
            name = ERROR
            data.append(line.removeprefix(b"error:").removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line.removeprefix(b"event:").strip()
        elif not line:
            if any(data):
                yield name, b"\n".join(data)
            name, data, size = b"", [], 0
    last = b"\n".join(bare or data)
    if last.strip() == DONE or _is_object(last):
        yield name, last


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield each line without its end, and what the stream ends with."""
    rest = bytearray()
    start = _MARK
    for piece in pieces:
        first, *lines = piece.split(b"\n")
        rest += first
        for line in lines:
            yield bytes(rest).removeprefix(start).rstrip(b"\r")
            rest, start = bytearray(line), b""
        _check_size(len(rest))
    if rest:
        yield bytes(rest).removeprefix(start).rstrip(b"\r")


def _check_size(size: int) -> None:
    if size > LONGEST:
        raise ValueError(f"it sends an event of more than {LONGEST // 2**20} MiB")


def _ends_object(lines: list[bytes]) -> bool:
    """Return True if an object has ended that is written in one line, or indented."""
    return (len(lines) == 1 or lines[-1].startswith(b"}")) and _is_object(b"\n".join(lines))


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False
