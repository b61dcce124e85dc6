"""Tables and bars in plain text."""

from collections.abc import Sequence

_ROOM = 2


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned columns, the first row being the heading; `right` are columns of numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        (" " * _ROOM).join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def bar(parts: Sequence[tuple[str, int]], whole: int, width: int) -> str:
    """Parts of a whole as runs of letters, in their order; what is over the whole is cut off.

    A part that is there has at least one cell, so that nothing is hidden by rounding.
    """
    cells = ""
    reached = 0
    for letter, size in parts:
        reached += max(0, size)
        end = round(width * reached / whole)
        if size > 0:
            cells += letter * max(1, end - len(cells))
    return cells[:width].ljust(width, ".")
