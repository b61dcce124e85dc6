"""Tables stand in columns, on every terminal that draws characters as wide as it likes."""

import pytest

from tulu_cli.text import cells

from .drawing import draw, pieces

NUMBERED = "| n | text |\n|--:|------|\n" + "\n".join(f"| {i} | row {i} |" for i in range(120))


@pytest.mark.parametrize("joins", [True, False], ids=["joins", "parts"])
def test_columns_stand_under_one_another_whatever_emoji_are_wide(joins: bool) -> None:
    table = "|e|x|\n|-|-|\n|👨‍👩‍👧|1|\n|❤️|1|\n|汉字|1|\n|🇩🇪|1|\n|👍🏽|1|\n|é|1|\n|plain|1|"
    screen = draw(pieces(table, 2), joins=joins).screen
    places = {[cell.data for cell in cells].index("1") for cells in screen.styled()[2:-1]}
    assert len(places) == 1


def test_alignment() -> None:
    table = "|left|center|right|\n|:-|:-:|-:|\n|a|b|c|"
    assert draw([table]).screen.rows() == [
        "left  center  right",
        "────  ──────  ─────",
        "a       b         c",
        "",
    ]


def test_a_cell_that_is_too_long_is_wrapped_in_its_column() -> None:
    rows = draw(["|a|b|\n|-|-|\n|1|" + "word " * 9 + "|"], columns=20).screen.rows()
    assert rows[:3] == ["a  b", "─  ─────────────────", "1  word word word"]
    assert rows[3].startswith("   word")


def test_where_columns_have_no_room_rows_are_lists() -> None:
    table = "|name|size|kind|note|\n|-|-|-|-|\n|first|1|aaaaaa|bbbbbb|\n|second|2|cccccc|dddddd|"
    assert draw([table], columns=20).screen.rows() == [
        *("name: first", "size: 1", "kind: aaaaaa", "note: bbbbbb"),
        *("name: second", "size: 2", "kind: cccccc", "note: dddddd"),
        "",
    ]


def test_the_rows_of_a_long_table_come_when_the_widths_are_clear() -> None:
    so_far = draw(pieces(NUMBERED, 9))
    rows = so_far.screen.rows()
    assert rows[2:-1] == [f"{i:2}  row {i}" for i in range(100)] + [
        f"{i}  row {i}" for i in range(100, 120)
    ]


def test_nothing_of_a_row_is_dropped() -> None:
    rows = draw(["|a|b|\n|-|-|\n|1|\n|1|2|3|\n|1|x \\| y|"]).screen.rows()
    assert rows[2:] == ["1", "1  2 | 3", "1  x | y", ""]


@pytest.mark.parametrize("text", ["word", "汉字", "👨‍👩‍👧", "❤️", "🇩🇪", "e\u0301", "\u200d", "ﷺ"])
def test_the_cells_are_the_most_that_a_terminal_takes(text: str) -> None:
    for joins in (True, False):
        screen = draw([text], joins=joins).screen
        taken = sum(cell.data != " " for cell in screen.styled()[0])
        assert taken <= max(1, cells(text))
