"""Words for people: names, times and amounts, and lines that fit a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.text import (
    ago,
    cells,
    clip,
    duration,
    listed,
    one_line,
    pad,
    plural,
    shown,
    wrap,
)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 s"), (99, "99 s"), (600, "10 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (2 * 86400, "2 days ago"),
        (14 * 86400, "2 weeks ago"),
        (800 * 86400, "2 years ago"),
    ],
)
def test_ages_are_told_in_the_largest_unit(seconds: float, expected: str) -> None:
    assert ago(seconds) == expected


def test_a_name_in_a_sentence_is_on_one_line() -> None:
    assert [shown(name) for name in ("a b", "", "a\nb", "\udcff")] == [
        "a b",
        "''",
        "'a\\nb'",
        "'\\udcff'",
    ]


def test_a_list_says_how_much_more_there_is() -> None:
    assert listed(["a", "b\n"]) == "a, 'b\\n'"
    assert listed(["a", "b", "c", "d"], 3) == "a, b, c and 1 more"
    assert listed(["x" * 200]) == "x" * 80 + "…"


def test_one_line_commands_nothing() -> None:
    assert one_line(" a\r\n\tb \x1b[2J") == "a b ␛[2J"
    assert one_line("abc def", 5) == "abc d [...]"
    assert plural(1, "turn") + plural(1234, "turn") == "1 turn1,234 turns"


@given(st.text(max_size=30), st.integers(0, 20))
def test_a_line_fits_its_columns(text: str, columns: int) -> None:
    line = one_line(text)
    assert cells(clip(line, columns)) <= columns
    assert cells(pad(line, columns)) == columns
    assert clip(line, cells(line)) == line


def test_a_line_is_broken_between_words() -> None:
    assert wrap("/set  Show the sampling, or set it.", 20, " " * 6) == (
        "/set  Show the\n      sampling, or\n      set it."
    )
    assert wrap("one\n\nsupercalifragilistic two", 10) == "one\n\nsupercalifragilistic\ntwo"
    assert wrap("天空 天空", 5) == "天空\n天空"


@given(st.text("ab 天", max_size=40), st.integers(1, 20))
def test_wrapping_keeps_every_word_and_fits(text: str, columns: int) -> None:
    lines = wrap(text, columns).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(cells(line) <= columns or " " not in line.strip() for line in lines)
