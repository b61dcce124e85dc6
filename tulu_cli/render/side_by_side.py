"""Texts beside each other on a wide terminal, and below each other everywhere else."""

from collections.abc import Sequence
from itertools import zip_longest

from tulu_cli.text import cells, chop, pad, terminal_safe, wrap

# Columns of a terminal that a text needs to be read with ease: two of them fit in 80.
NARROWEST = 36
_TAB = 4


def fits(count: int, width: int) -> bool:
    """Return True if a terminal of this width has room for so many texts beside each other."""
    return _width(count, width) >= NARROWEST


def side_by_side(texts: Sequence[tuple[str, str]], width: int, *, utf8: bool = True) -> list[str]:
    """Return the lines that show each (heading, text) in a column of its own, made safe.

    No line is wider than `width`: words that are longer than a column are cut in pieces.
    """
    divider, rule, cross = (" │ ", "─", "─┼─") if utf8 else (" | ", "-", "-+-")
    room = _width(len(texts), width)
    headings = [_rows(heading, room) for heading, _ in texts]
    bodies = [_rows(text.strip("\n"), room) for _, text in texts]
    lines = [_line(row, room, divider) for row in zip_longest(*headings, fillvalue="")]
    lines.append(cross.join(rule * room for _ in texts))
    return [*lines, *(_line(row, room, divider) for row in zip_longest(*bodies, fillvalue=""))]


def _width(count: int, width: int) -> int:
    return (width - 3 * (count - 1)) // count


def _line(row: Sequence[str], room: int, divider: str) -> str:
    return divider.join(pad(cell, room) for cell in row).rstrip()


def _rows(text: str, room: int) -> list[str]:
    """Return a text in lines of at most `room` columns."""
    safe = wrap(terminal_safe(text).expandtabs(_TAB), room)
    pieces = (
        [line] if cells(line) <= room else chop(line, room, room) for line in safe.split("\n")
    )
    return [piece for line in pieces for piece in line]
