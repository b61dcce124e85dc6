"""Texts beside each other: what fits, what is cut, and what commands no terminal."""

import pytest

from tulu_cli.render.side_by_side import fits, side_by_side
from tulu_cli.text import cells


def test_each_text_has_a_column_under_its_heading() -> None:
    assert side_by_side([("a", "one two three\nfour"), ("bb", "five")], 19, utf8=False) == [
        "a        | bb",
        "---------+---------",
        "one two  | five",
        "three    |",
        "four     |",
    ]


@pytest.mark.parametrize(
    "text",
    ["word " * 30, "x" * 100, "\u4f60\u597d" * 30, "a\tb\r\n\x1b[31mred\x1b[m\x07", "", "\n\n"],
)
def test_no_line_is_wider_than_the_terminal_and_none_has_a_control(text: str) -> None:
    lines = side_by_side([("h" * 90, text), ("b", "other\n" * 3)], 80)
    assert max(map(cells, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    left = "".join(line.partition(" │ ")[0].rstrip() for line in lines[4:])
    assert left.count("x") == text.count("x")
    assert left.count("\u4f60") == text.count("\u4f60")


def test_two_fit_in_80_columns_and_three_do_not() -> None:
    assert fits(2, 80)
    assert not fits(3, 80)
    assert fits(3, 120)
    assert not fits(2, 60)
