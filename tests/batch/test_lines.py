"""Records out of an input of any size: blank lines, torn lines, CSV, and what is too long."""

import io
import json
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest

from tulu_cli.batch import lines
from tulu_cli.batch.lines import read_csv, read_lines
from tulu_cli.batch.rows import BadRow, read_row
from tulu_cli.core import Message
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


ROWS: list[Any] = [{"prompt": "é"}, {"prompt": "Ho", "x": [1]}]
TALKS: list[Any] = [[{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Ho"}]]


@pytest.mark.parametrize("rows", [ROWS, TALKS], ids=["objects", "conversations"])
@pytest.mark.parametrize("begin", ["", "\n", "\ufeff"], ids=repr)
@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda rows: json.dumps(rows, indent=2),
        lambda rows: json.dumps(rows, indent=2).replace("[\n  {", "[{", 1),
        lambda rows: "[" + ",\n".join(map(json.dumps, rows)) + "]",
        lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n\n",
    ],
    ids=["one line", "indented", "indented from the second", "lines", "lines within"],
)
def test_an_array_is_its_items(rows: list[Any], begin: str, write: Callable[[Any], str]) -> None:
    found = list(read_lines(io.BytesIO((begin + write(rows)).encode())))
    assert [json.loads(line.data or b"") for line in found] == rows
    assert [line.place for line in found] == ["item 1", "item 2"]
    assert found[0].digest != found[1].digest


@pytest.mark.parametrize("value", [ROWS[0], TALKS[0]], ids=["an object", "messages"])
def test_a_single_record_over_several_lines(value: Any) -> None:
    (found,) = read_lines(io.BytesIO(json.dumps(value, indent=1).encode()))
    assert json.loads(found.data or b"") == value


@pytest.mark.parametrize(
    "data",
    [
        b'[{"prompt": "Hi"}]\n[{"prompt": "Ho"}]',
        b'[{"role": "user", "content": "Hi"}]\n{"prompt": "Ho"}',
        b'{"prompt": "Hi"',
        b'{"prompt": "Hi",\n{"prompt": "Ho"}',
        b'[{"role": "user", "content":\n{"prompt": "Ho"}',
        b"[oops\n[oops",
        b"[" * 100_000,
        b"[]",
    ],
    ids=lambda data: str(data[:40]),
)
def test_what_is_no_document_is_read_by_lines(data: bytes) -> None:
    assert numbers(data) == list(enumerate(data.split(b"\n"), 1))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'[\n{"a": 1},\n{"a"\n]', "The input is not valid JSON: line 4, column 1"),
        (b'\n[{"a": 1},\n{"a": 2}', "The input is not valid JSON: line 3, column 9"),
        (b'{\n"a": 1\n}\n{\n"a": 2\n}', "line 4, column 1: Extra data"),
        (b"[\n\xff\n]", "The input is not UTF-8"),
    ],
)
def test_a_document_that_is_broken_is_one_error(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        list(read_lines(io.BytesIO(data)))


def test_a_bad_item_of_an_array_is_an_error_of_its_own() -> None:
    data = b'[\n{"prompt": "\\ud800"},\n{"prompt": "Hi"},\n3\n]'
    rows = [read_row(line) for line in read_lines(io.BytesIO(data))]
    assert [str(row.error) if isinstance(row, BadRow) else row.prompt for row in rows] == [
        "item 1: prompt has a lone surrogate, which is not a character.",
        (Message("user", "Hi"),),
        ANY,
    ]


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


def test_a_long_name_of_a_column_is_a_name_as_any_other() -> None:
    name = "n" * 200_000
    (line,) = read_csv(io.BytesIO(f"prompt,{name}\nHi,2\n".encode()), "x")
    assert json.loads(line.data or b"") == {"prompt": "Hi", name: "2"}


def test_a_header_whose_quote_is_not_closed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 16)
    with pytest.raises(BadInput, match=r"x, line 1, has a cell .*: is its quote closed\?"):
        list(read_csv(io.BytesIO(b'a,"b\n' + b"1,2\n" * 20), "x"))


def test_a_quote_that_is_not_closed_costs_no_row_before_it() -> None:
    found = read_csv(io.BytesIO(b'a\n1\n2\n"3\n4\n5\n'), "x")
    assert [json.loads(next(found).data or b"")["a"] for _ in range(2)] == ["1", "2"]
    with pytest.raises(BadInput, match="x, line 4, is not CSV: unexpected end of data"):
        next(found)


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
