"""The rows of MMLU out of an Arrow IPC stream, without pyarrow and its 40 MB.

Source: https://arrow.apache.org/docs/format/Columnar.html. Only what a file whose hash is known
can hold is read: uncompressed batches of the columns question, subject, choices and answer.
"""

import struct
from collections.abc import Iterator
from typing import Any

_CONTINUES = 0xFFFFFFFF
_RECORD_BATCH = 3


def mmlu_rows(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a stream."""
    position = 0
    while position + 8 <= len(data):
        continues, size = struct.unpack_from("<II", data, position)
        if continues != _CONTINUES or size == 0:
            return
        message = _Table(data[position + 8 : position + 8 + size])
        body = position + 8 + size
        length = message.number(3, "<q")
        if message.number(1, "<B") == _RECORD_BATCH:
            yield from _rows(message.table(2), memoryview(data)[body : body + length])
        position = body + length


def _rows(batch: "_Table", body: memoryview) -> Iterator[dict[str, Any]]:
    count = batch.number(0, "<q")
    # Each column begins with its validity, which is empty: no value is missing.
    buffers = [body[start : start + length] for start, length in batch.pairs(2)]
    questions = _texts(buffers[1], buffers[2], count)
    subjects = _texts(buffers[4], buffers[5], count)
    choices = _texts(buffers[9], buffers[10], struct.unpack_from("<i", buffers[7], 4 * count)[0])
    begins = struct.unpack_from(f"<{count + 1}i", buffers[7])
    answers = struct.unpack_from(f"<{count}q", buffers[12])
    for at in range(count):
        yield {
            "question": questions[at],
            "subject": subjects[at],
            "choices": choices[begins[at] : begins[at + 1]],
            "answer": answers[at],
        }


def _texts(offsets: memoryview, data: memoryview, count: int) -> list[str]:
    ends = struct.unpack_from(f"<{count + 1}i", offsets)
    return [str(data[ends[at] : ends[at + 1]], "utf-8") for at in range(count)]


class _Table:
    """A table of a flatbuffer: fields by their number."""

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self._data = data
        self._at = struct.unpack_from("<I", data)[0] if at is None else at
        self._fields = self._at - struct.unpack_from("<i", data, self._at)[0]

    def _place(self, number: int) -> int:
        size = struct.unpack_from("<H", self._data, self._fields)[0]
        entry = 4 + 2 * number
        offset = (
            struct.unpack_from("<H", self._data, self._fields + entry)[0] if entry < size else 0
        )
        return self._at + offset if offset else 0

    def number(self, number: int, form: str) -> int:
        """Return a scalar, 0 where it is left out."""
        place = self._place(number)
        return int(struct.unpack_from(form, self._data, place)[0]) if place else 0

    def table(self, number: int) -> "_Table":
        """Return a table inside."""
        place = self._place(number)
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two longs."""
        place = self._place(number)
        place += struct.unpack_from("<I", self._data, place)[0]
        count = struct.unpack_from("<I", self._data, place)[0]
        flat = struct.unpack_from(f"<{2 * count}q", self._data, place + 4)
        return list(zip(flat[::2], flat[1::2], strict=True))
