"""Server-sent events, byte by byte: line ends, comments, and what never ends."""

import pytest

from tulu_cli.engines.remote import wire
from tulu_cli.engines.remote.wire import event_data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"data: 1\n\ndata: 2\n\n", [b"1", b"2"]),
        (b"data:1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
        (b": waiting\n\n\n\nevent: chunk\nid: 7\ndata: 1\nretry: 3\n\n", [b"1"]),
        (b"data: [1,\ndata: 2]\n\n", [b"[1,\n2]"]),
        (b"data: \xe2\x80\xa8\n\n", [b"\xe2\x80\xa8"]),  # a line end to str.splitlines, not here
        (b"data: 1\n\ndata: 2\n", [b"1"]),
        (b"data: 1\n\ndata: 2", [b"1"]),
        (b"<html>\n\n", []),
    ],
)
def test_the_data_of_whole_events(data: bytes, expected: list[bytes]) -> None:
    assert list(event_data([data])) == expected


def test_an_event_without_an_end_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LONGEST", 2**20)
    whole = b"data: " + b"x" * (2**20 - 8) + b"\n\n"
    assert [len(data) for data in event_data([whole * 2])] == [2**20 - 8] * 2
    endless = (b"data: 1\n\n" + b"x" * 2**21, b"data: x\n" * 2**18)
    for data in endless:
        with pytest.raises(ValueError, match="an event of more than 1 MiB"):
            list(event_data([data]))
