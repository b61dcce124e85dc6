"""Bars: as long as their share, in whatever characters the terminal has."""

import pytest

from tulu_cli.render.columns import bar_chart, share_bar


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.53125, "██▏"), (0.97, "███▉"), (2, "████"), (-1, "")],
)
def test_eighths(share: float, expected: str) -> None:
    assert share_bar(share, 4, utf8=True) == expected


@pytest.mark.parametrize(("share", "expected"), [(0, ""), (1, "####"), (0.5, "##"), (0.7, "###")])
def test_ascii(share: float, expected: str) -> None:
    assert share_bar(share, 4, utf8=False) == expected


def test_a_chart_fits_its_width() -> None:
    bars = [("Tülu 3", 50.0, "50.0*"), ("B", 100.0, "100.0")]
    assert bar_chart(bars, 100.0, 20, utf8=True) == ["Tülu 3 ███▌    50.0*", "B      ███████ 100.0"]
    for width in range(17, 200):
        for utf8 in (True, False):
            assert max(map(len, bar_chart(bars, 100.0, width, utf8=utf8))) <= width


def test_without_room_there_are_short_bars() -> None:
    assert bar_chart([("a", 100.0, "1")], 100.0, 0, utf8=False) == ["a #### 1"]
