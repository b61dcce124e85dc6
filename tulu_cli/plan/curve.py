"""Curves as an SVG drawing: logarithmic axes, one polyline a series, no scripts."""

from collections.abc import Mapping, Sequence
from math import log2
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 720, 440, 72, 56, 40, 24
_COLOURS = ("#0b6e99", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be123c")

Points = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Points], *, title: str, across: str, up: str) -> str:
    """Return an SVG document; both axes double at each tick.

    Raise ValueError if there is no point. Coordinates are positive.
    """
    every = [point for points in series.values() for point in points]
    if not every:
        raise ValueError("nothing to draw")
    low_x, high_x = _span([x for x, _ in every])
    low_y, high_y = _span([y for _, y in every])

    def place(x: float, y: float) -> str:
        left = _LEFT + (log2(x) - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        top = _HEIGHT - _BOTTOM - (log2(y) - low_y) / (high_y - low_y) * (_HEIGHT - _BOTTOM - _TOP)
        return f"{left:.1f},{top:.1f}"

    style = 'font-family="sans-serif" font-size="12" role="img"'
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    parts = [
        f'<svg {namespace} viewBox="0 0 {_WIDTH} {_HEIGHT}" {style}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_WIDTH / 2, 20, title, "middle", size=15),
        _text(_WIDTH / 2, _HEIGHT - 12, across, "middle"),
        f'<g transform="rotate(-90 16 {_HEIGHT / 2})">'
        + _text(16, _HEIGHT / 2, up, "middle")
        + "</g>",
    ]
    for power in range(low_x, high_x + 1):
        x, y = place(2**power, 2**low_y).split(",")
        parts.append(_line(x, str(_TOP), x, y) + _text(float(x), float(y) + 18, _number(power)))
    for power in range(low_y, high_y + 1):
        x, y = place(2**low_x, 2**power).split(",")
        parts.append(_line(x, y, str(_WIDTH - _RIGHT), y))
        parts.append(_text(float(x) - 6, float(y) + 4, _number(power), "end"))
    for index, (name, points) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_WIDTH - _RIGHT - 8, _TOP + 16 + 16 * index, name, "end", colour=colour))
    return "\n".join([*parts, "</svg>\n"])


def _span(values: Sequence[float]) -> tuple[int, int]:
    low, high = int(log2(min(values)) // 1), -int(-log2(max(values)) // 1)
    return low, max(high, low + 1)


def _number(power: int) -> str:
    value = 2**power
    return f"{value:,}" if power >= 0 else f"{value:g}"


def _line(x1: str, y1: str, x2: str, y2: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _text(
    x: float, y: float, text: str, anchor: str = "middle", *, size: int = 12, colour: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
