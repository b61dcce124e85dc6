"""Columns that line up, and tables that are folded where the terminal ends."""

import pytest

from tulu_cli.render.columns import aligned, score_table

LABELS = ("MMLU", "DROP")
COLUMNS = [("Tülu 3 8B", ("68.2*", "62.6 ")), ("A name of many words", ("7.0 ", "61.5*"))]


def test_each_column_is_as_wide_as_its_widest_cell() -> None:
    assert aligned([("a", "1", "x"), ("bbb", "100", "")], right=(1,)) == ["a      1  x", "bbb  100"]


def test_long_names_are_broken_into_lines() -> None:
    assert score_table(LABELS, COLUMNS, 80) == [
        "             A name",
        "     Tülu 3 of many",
        "         8B   words",
        "MMLU  68.2*    7.0",
        "DROP  62.6    61.5*",
    ]


def test_what_has_no_room_follows_below() -> None:
    lines = score_table(LABELS, COLUMNS, 12)
    gap = lines.index("")
    assert [line.split() for line in lines[:gap]] == [
        ["Tülu", "3"],
        ["8B"],
        ["MMLU", "68.2*"],
        ["DROP", "62.6"],
    ]
    assert lines[-1].split() == ["DROP", "61.5*"]
    assert max(map(len, lines)) <= 12


@pytest.mark.parametrize("width", [-1, 0, 1, 5, 11, 12, 19, 20, 10_000])
def test_every_cell_is_there_whatever_the_width(width: int) -> None:
    text = " ".join(score_table(LABELS, COLUMNS, width))
    for cell in (cell.strip() for _, cells in COLUMNS for cell in cells):
        assert text.count(cell) == 1
