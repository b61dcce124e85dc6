"""Records out of an input of any size: blank lines, torn lines, CSV, and what is too long."""

import io
import json

import pytest

from tulu_cli.batch import lines
from tulu_cli.batch.lines import read_csv, read_lines
from tulu_cli.errors import BadInput


def numbers(data: bytes) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.data) for line in read_lines(io.BytesIO(data))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n \n\t\r\n", []),
        (b"1\n\n3", [(1, b"1"), (3, b"3")]),
        (b"\xef\xbb\xbf1\r\n2\n", [(1, b"1"), (2, b"2")]),
        (b"\xff\xfe", [(1, b"\xff\xfe")]),
    ],
)
def test_lines_keep_their_numbers(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert numbers(data) == expected


def test_a_line_that_is_too_long_is_passed_over_without_being_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 8)
    assert numbers(b"12345678\n123456789\n1234\n" + b"x" * 100) == [
        (1, b"12345678"),
        (2, None),
        (3, b"1234"),
        (4, None),
    ]
    one, other = (list(read_lines(io.BytesIO(b"x" * 100 + end))) for end in (b"a", b"b"))
    assert one[0].digest != other[0].digest


def test_equal_lines_have_equal_digests_and_others_not() -> None:
    made = [line.digest for line in read_lines(io.BytesIO(b'{"a":1}\n {"a":1}\r\n{"a":2}\n'))]
    assert made[0] == made[1] != made[2]
    assert all(0 < one < 2**64 for one in made)


def test_csv_rows_are_objects_at_the_line_they_begin_on() -> None:
    data = 'id,title\n1,"two\nlines"\n\n2,ü\n3\n'.encode()
    found = [
        (line.number, json.loads(line.data or b"")) for line in read_csv(io.BytesIO(data), "x")
    ]
    assert found == [
        (2, {"id": "1", "title": "two\nlines"}),
        (5, {"id": "2", "title": "ü"}),
        (6, ["3"]),
    ]


def test_a_long_cell_of_a_csv_is_a_row_as_any_other() -> None:
    long = "word " * 30_000
    data = f'id,prompt\n1,Hi\n2,"{long}"\n3,Ho\n'.encode()
    found = [json.loads(line.data or b"")["prompt"] for line in read_csv(io.BytesIO(data), "x")]
    assert found == ["Hi", long, "Ho"]


def test_a_csv_row_that_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 24)
    data = b"a,b\n1,2\n1234567890,1234567890\n3,4\n"
    found = [(line.number, line.data is None) for line in read_csv(io.BytesIO(data), "x")]
    assert found == [(2, False), (3, True), (4, False)]


def test_a_csv_whose_quote_is_not_closed_is_not_held_as_one_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 16)
    data = b'a\n1\n"' + b"2\n" * 20
    with pytest.raises(BadInput, match=r"x, line 3, has a cell of more than 16 characters"):
        list(read_csv(io.BytesIO(data), "x"))


def test_an_empty_csv_has_no_row() -> None:
    assert list(read_csv(io.BytesIO(b""), "x")) == []
    assert list(read_csv(io.BytesIO(b"a,b\n"), "x")) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,a\n1,2\n", "x names a column twice in its header."),
        (b"a\n1\n\xff\n", "x is not UTF-8"),
        (b'a\n1\n"2', "x, line 3, is not CSV"),
    ],
)
def test_a_csv_that_cannot_be_read_on_says_where(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        list(read_csv(io.BytesIO(data), "x"))
