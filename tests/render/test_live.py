"""Turning the live rows into others draws exactly those, whatever they were."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tulu_cli.render.live import common, redraw
from tulu_cli.render.markdown.rows import Row, encode, row
from tulu_cli.text import cells

from .screen import Screen

WIDTH = 24
WORDS = ["a", "word", " ", "  ", "          ", "汉字", "👨‍👩‍👧", "❤️", "e\u0301", "\u0301", "x"]
spans = st.tuples(st.sampled_from(WORDS), st.sampled_from(["", "", "1", "1;34", "31"]))


def fits(line: Row) -> bool:
    return sum(cells(text) for text, _style in line) <= WIDTH


rows = st.lists(spans, max_size=6).map(row).filter(fits)
frames = st.lists(st.lists(rows, min_size=1, max_size=5), min_size=1, max_size=5)


MARK = ("\u0301", "")
JUMPED: list[Row] = [(MARK, ("a", "31"), ("          ", "1"), ("a", ""))]
MARKED: list[Row] = [(MARK, ("a", "31"), (" ", "1"), MARK)]


@settings(max_examples=100, deadline=None)
@given(frames=frames, joins=st.booleans())
@example(frames=[JUMPED, MARKED], joins=False)  # a mark on a gap that was jumped over
def test_a_frame_is_drawn_over_another(frames: list[list[Row]], joins: bool) -> None:
    screen, fresh = (Screen(WIDTH, 12, joins=joins) for _ in range(2))
    old: list[Row] = [()]
    for new in frames:
        screen.write(redraw(old, new).encode())
        old = new
    fresh.write("\n".join(map(encode, old)).encode())
    assert screen.rows() == fresh.rows()
    assert screen.styled() == fresh.styled()
    assert not any(screen.below())
    assert (screen.cursor.x, screen.cursor.y) == (fresh.cursor.x, fresh.cursor.y)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([()], [(("a", ""),)], "a"),
        ([(("a", ""),)], [(("ab", ""),)], "b"),
        ([(("a", ""),)], [(("a", ""),), (("b", "1"),)], "\n\x1b[1mb\x1b[m"),
        ([(("ab", ""),)], [(("ac", ""),)], "\r\x1b[1C\x1b[Kc"),
        ([(("a", ""),), (("b", ""),)], [(("c", ""),)], "\r\x1b[1A\x1b[Kc\n\x1b[K\x1b[1A\r\x1b[1C"),
        ([(("a", ""),)], [(("a", ""),)], ""),
    ],
)
def test_only_what_differs_is_written(old: list[Row], new: list[Row], expected: str) -> None:
    assert redraw(old, new) == expected


def test_what_is_put_together_is_not_taken_apart() -> None:
    kept, rest = common((("ab 👨", ""),), (("ab 👨\u200d👩", ""),))
    assert (kept, rest) == ((("ab 👨", ""),), (("\u200d👩", ""),)), "it grows where it stands"
    kept, rest = common((("ab 👨x", ""),), (("ab 👨\u200d👩", ""),))
    assert (kept, rest) == ((("ab", ""),), ((" 👨\u200d👩", ""),))
