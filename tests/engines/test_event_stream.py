"""Server-sent events, byte by byte: line ends, comments, and what never ends."""

import pytest

from tulu_cli.engines.remote import events as module
from tulu_cli.engines.remote.events import events


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data:1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b": waiting\n\n\n\nevent: chunk\nid: 7\ndata: 1\nretry: 3\n\n", [b"1"]),
        (b"data: [1,\ndata: 2]\n\n", [b"[1,\n2]"]),
        (b"\xef\xbb\xbfdata: 1\n\n", [b"1"]),
        (b"data:\n\ndata: \n\ndata: 1\n\n", [b"1"]),
        (b"data: 1\n\ndata: [DONE]", [b"1", b"[DONE]"]),
        (b'data: 1\n\ndata: {"a": 2}', [b"1", b'{"a": 2}']),
        (b'data: 1\n\ndata: {"a": 2', [b"1"]),
        (b'{"a": 1}\n{"a": 2}\n', [b'{"a": 1}', b'{"a": 2}']),
        (b'\n {"a": 1}', [b' {"a": 1}']),
        (b'{\n  "a": {\n  }\n}\ndata: 1\n\n', [b'{\n  "a": {\n  }\n}', b"1"]),
        (b'{"a": \n\ndata: 1\n\n', [b'{"a": \n', b"1"]),
        (b'{"a": ', []),
        (b"data: \xe2\x80\xa8\n\n", [b"\xe2\x80\xa8"]),  # a line end to str.splitlines, not here
        (b"data: 1\n\ndata: 2\n", [b"1"]),
        (b"data: 1\n\ndata: 2", [b"1"]),
        (b"<html>\n\n", []),
    ],
)
def test_the_data_of_whole_events(data: bytes, expected: list[bytes]) -> None:
    assert [data for _, data in events([data])] == expected
    cut = (bytes([byte]) for byte in data)
    assert [data for _, data in events(cut)] == expected


def test_the_names_of_events() -> None:
    told = b"event: error\r\ndata: no\r\n\r\nerror: {}\n\ndata: 1\n\nevent: x\n\ndata: 2\n\n"
    assert list(events([told])) == [(b"error", b"no"), (b"error", b"{}"), (b"", b"1"), (b"", b"2")]


def test_an_event_without_an_end_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 2**20)
    whole = b"data: " + b"x" * (2**20 - 8) + b"\n\n"
    assert [len(data) for _, data in events([whole * 2])] == [2**20 - 8] * 2
    endless = (b"data: 1\n\n" + b"x" * 2**21, b"data: x\n" * 2**18)
    for data in endless:
        with pytest.raises(ValueError, match="an event of more than 1 MiB"):
            list(events([data]))
