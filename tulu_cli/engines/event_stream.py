"""Server-sent events, in which a server streams its answer: the data of each, as it comes."""

from collections.abc import Iterator
from typing import Protocol

LONGEST = 16 * 2**20  # bytes of an event; an answer's whole text is less


class Lines(Protocol):
    """Where the lines come from; b"" is the end."""

    def readline(self, limit: int = -1, /) -> bytes: ...


def event_data(stream: Lines) -> Iterator[bytes]:
    """The data of each whole event; comments and other fields are left out.

    An event that has not ended when the stream does is none. Raises ValueError for one that is
    longer than LONGEST: nothing but a mistake has no line end for so long.
    """
    data: list[bytes] = []
    room = LONGEST
    while line := stream.readline(room + 1):
        room -= len(line)
        if room < 0:
            raise ValueError(f"it sends an event of more than {LONGEST // 2**20} MiB")
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text.removeprefix(b"data:").removeprefix(b" "))
        elif not text:
            if data:
                yield b"\n".join(data)
            data, room = [], LONGEST
