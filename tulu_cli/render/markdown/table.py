"""A table. Its first rows wait until the widths of its columns are clear; the others do not."""

from collections.abc import Sequence
from copy import copy

from tulu_cli.render.markdown import blocks
from tulu_cli.render.markdown.inline import Flow
from tulu_cli.render.markdown.rows import Row, Span, Theme, plain, row
from tulu_cli.text import cells

SAMPLE = 50  # rows that have a say in the widths
GAP = 2  # cells between columns
NARROWEST = 5  # cells; where columns would be narrower, rows are written as lists

Cell = tuple[Row, ...]  # its lines, where there is room


class Table:
    """Hold rows of cells, the head first. `aligned` has l, c or r for each column."""

    def __init__(self, theme: Theme, width: int, head: str, delimiters: str) -> None:
        self._theme = theme
        self._width = width
        self._aligned = [_alignment(cell) for cell in blocks.columns(delimiters)]
        self._sample: tuple[list[str], ...] = (blocks.columns(head),)
        self._natural = self._measure(self._sample[0], [1] * len(self._aligned))
        self._streams = False

    def line(self, text: str, *, whole: bool) -> list[Row]:
        assert whole, "a part of a line is not a row"
        texts = _fit(blocks.columns(text), len(self._aligned))
        self._natural = self._measure(texts, self._natural)
        if self._streams:
            return self._draw(texts)
        self._sample = (*self._sample, texts)
        if len(self._sample) <= SAMPLE:
            return []
        self._streams = True
        return self._all()

    def feed(self, _text: str) -> list[Row]:
        return []

    def end(self) -> list[Row]:
        return []

    def finish(self) -> list[Row]:
        return [] if self._streams else self._all()

    def preview(self, last: int) -> list[Row]:
        if self._streams or len(self._sample) <= last:
            return self.finish()
        return [drawn for texts in self._sample[-last:] for drawn in self._draw(texts)]

    def resize(self, width: int) -> list[Row]:
        self._width = width
        return []

    def copy(self) -> "Table":
        return copy(self)

    def _measure(self, texts: Sequence[str], widths: Sequence[int]) -> list[int]:
        """Return the widths with one more row."""
        longest = [max(map(cells, _plain(text, self._theme))) for text in texts]
        return [max(pair) for pair in zip(widths, longest, strict=False)]

    def _all(self) -> list[Row]:
        head, *body = self._sample
        rows = [] if self._is_list() else self._head(head)
        return rows + [drawn for texts in body for drawn in self._draw(texts)]

    def _head(self, texts: list[str]) -> list[Row]:
        gap = " " * GAP
        rule = gap.join(self._theme.rule * width for width in self._columns())
        return [*self._draw(texts, "bold"), row([(rule, self._theme.style("faint"))])]

    def _draw(self, texts: list[str], style: str = "") -> list[Row]:
        if self._is_list():
            return self._as_list(texts)
        widths = self._columns()
        columns = [
            _laid_out(text, self._theme, width, self._theme.style(style))
            for text, width in zip(texts, widths, strict=False)
        ]
        return [
            self._across([column[i] if i < len(column) else () for column in columns], widths)
            for i in range(max(map(len, columns)))
        ]

    def _across(self, lines: list[Row], widths: list[int]) -> Row:
        spans: list[Span] = []
        for line, width, aligned in zip(lines, widths, self._aligned, strict=False):
            room = width - cells(plain(line))
            before = {"l": 0, "c": room // 2, "r": room}[aligned]
            spans += [(" " * before, ""), *line, (" " * (room - before + GAP), "")]
        return row(spans)

    def _as_list(self, texts: list[str]) -> list[Row]:
        """Return a row as lines of "head: cell", for a screen too narrow for its columns."""
        rows: list[Row] = []
        for head, text in zip(self._sample[0], texts, strict=False):
            style = self._theme.style("" if rows else "bold")
            line = f"{head}: {text}" if head else text
            rows += _laid_out(line, self._theme, self._width, style)
        return rows

    def _is_list(self) -> bool:
        least = sum(min(width, NARROWEST) for width in self._natural)
        return least + GAP * (len(self._natural) - 1) > self._width

    def _columns(self) -> list[int]:
        """Return the widths of the columns, the widest reduced until all fit."""
        room = self._width - GAP * (len(self._natural) - 1)
        widest = max(self._natural)
        low, high = NARROWEST, widest
        while low < high:  # the largest cap under which all fit
            middle = (low + high + 1) // 2
            if sum(min(width, middle) for width in self._natural) <= room:
                low = middle
            else:
                high = middle - 1
        return [min(width, low) for width in self._natural]


def _alignment(delimiter: str) -> str:
    left, right = delimiter.startswith(":"), delimiter.endswith(":")
    return "c" if left and right else "r" if right else "l"


def _fit(texts: list[str], count: int) -> list[str]:
    """Return a cell for each column: empty ones added, surplus ones joined."""
    if len(texts) > count:
        return [*texts[: count - 1], " | ".join(texts[count - 1 :])]
    return texts + [""] * (count - len(texts))


def _laid_out(text: str, theme: Theme, width: int, style: str = "") -> list[Row]:
    flow = Flow(theme, width, style)
    return [*flow.feed(text), *flow.finish()]


def _plain(text: str, theme: Theme) -> list[str]:
    """Return the lines of a cell on a screen without an edge."""
    return [plain(line) for line in _laid_out(text, theme, 10_000)] or [""]
