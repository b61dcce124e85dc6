"""Tables and bars of plain text, for people and for awk alike."""

from collections.abc import Callable, Collection, Sequence
from textwrap import wrap

from tulu_cli.text import cells

GAP = "  "
Paint = Callable[[int, int, str], str]
# A heading is broken into lines that may be this long, even above narrower cells.
_HEADING = 8
_DIVIDER = " "


def aligned(
    rows: Sequence[Sequence[str]],
    right: Collection[int] = (),
    gap: str = GAP,
    paint: Paint | None = None,
) -> list[str]:
    """Return one line for each row, each column as wide as its widest cell.

    `right` are the places of the columns that are aligned at their right end, as numbers are.
    `paint` gives a cell its colour, from its row, its column and its text.
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    lines = []
    for number, row in enumerate(rows):
        parts = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cells(cell))
            text = paint(number, place, cell) if paint and cell else cell
            parts.append(blank + text if place in right else text + blank)
        lines.append(gap.join(parts).rstrip())
    return lines


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), paint: Paint | None = None
) -> str:
    """Return `aligned` rows as one text, in which each line ends with a newline."""
    return "".join(f"{line}\n" for line in aligned(rows, right, paint=paint))


def score_table(
    labels: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]], width: int
) -> list[str]:
    """Return a table with a row for each label and a column for each (name, cells) pair.

    The cells end with the place of their mark, so that one more space divides them. Long names are
    broken into lines. Columns that do not fit `width` follow in a table below, with the labels
    again.
    """
    lines: list[str] = []
    rest = [_heading(name, values) for name, values in columns]
    while rest:
        count = _fitting(labels, rest, width)
        lines += [""] if lines else []
        lines += _block(labels, rest[:count])
        rest = rest[count:]
    return lines


_Column = tuple[list[str], Sequence[str]]


def _heading(name: str, values: Sequence[str]) -> _Column:
    longest = max(map(cells, (*name.split(), *values)))
    return wrap(name, max(longest, _HEADING)), values


def _fitting(labels: Sequence[str], columns: list[_Column], width: int) -> int:
    """Return how many of the columns fit `width`, at least one."""
    used = max(map(cells, labels))
    for count, (heading, values) in enumerate(columns):
        used += len(_DIVIDER) + max(map(cells, (*heading, *values)))
        if used > width:
            return max(count, 1)
    return len(columns)


def _block(labels: Sequence[str], columns: list[_Column]) -> list[str]:
    height = max(len(heading) for heading, _ in columns)
    above = [[""] * (height - len(heading)) + heading for heading, _ in columns]
    head = [["", *(column[line] for column in above)] for line in range(height)]
    body = [
        [label, *(values[number] for _, values in columns)] for number, label in enumerate(labels)
    ]
    return aligned([*head, *body], range(1, len(columns) + 1), _DIVIDER)


def stacked_bar(parts: Sequence[tuple[str, int]], whole: int, width: int) -> str:
    """Return a bar of `width` letters, a run for each part; what exceeds the whole is cut off.

    A part that is not empty has at least one cell, so that rounding hides nothing.
    """
    drawn = ""
    reached = 0
    for letter, size in parts:
        reached += max(0, size)
        end = min(round(width * reached / whole), width)
        if size > 0:
            drawn += letter * max(1, end - len(drawn))
    return drawn[:width].ljust(width, ".")


_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL, _PLAIN = "█", "#"
_SHORTEST = 4


def bar_chart(
    bars: Sequence[tuple[str, float, str]], most: float, width: int, *, utf8: bool
) -> list[str]:
    """Return one line for each label, value and note, in which the bar of `most` is the longest.

    No line is longer than `width`, unless labels and notes leave no room for a bar at all.
    """
    label_width = max(len(label) for label, _, _ in bars)
    note_width = max(len(note) for _, _, note in bars)
    room = max(width - label_width - note_width - 2, _SHORTEST)
    lines = []
    for label, value, note in bars:
        drawn = share_bar(value / most, room, utf8=utf8)
        lines.append(f"{label.ljust(label_width)} {drawn.ljust(room)} {note}".rstrip())
    return lines


def share_bar(share: float, room: int, *, utf8: bool) -> str:
    """Return a bar for a share, 0 to 1, of `room` columns."""
    eighths = round(min(max(share, 0.0), 1.0) * room * 8)
    if not utf8:
        return _PLAIN * round(eighths / 8)
    full, part = divmod(eighths, 8)
    return _FULL * full + (_EIGHTHS[part] if part else "")
