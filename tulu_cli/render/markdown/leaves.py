"""The blocks that hold text. Each gives rows as soon as they are settled.

`line` takes a line or, where `whole` is False, its first part; the rest comes by `feed`, and `end`
ends it. `finish` ends the block, and `preview` gives the last rows of what it would give. A copy
of a leaf has a writer of its own.
"""

import re
from copy import copy
from typing import Generic, Protocol, Self, TypeVar

from tulu_cli.render.markdown import blocks
from tulu_cli.render.markdown.highlight import Highlighter
from tulu_cli.render.markdown.inline import Flow
from tulu_cli.render.markdown.rows import TAB, Row, Span, Theme, row
from tulu_cli.text import cells, chop

PIECE = 1000  # characters of an endless line that are laid out at once


class Verbatim:
    """Lay out lines, each as a whole or, if it is endless, in pieces."""

    def __init__(self, width: int, style: str = "") -> None:
        self.width = width
        self._style = style
        self._row: tuple[Span, ...] = ()
        self._cells = 0
        self._waiting = ""

    def line(self, spans: list[Span]) -> list[Row]:
        """Return the rows of a whole line."""
        return [*self._put(spans), *self.end()]

    def feed(self, text: str) -> list[Row]:
        """Return the full rows of a line that goes on."""
        self._waiting += text.replace("\t", " " * TAB)
        full = []
        while len(self._waiting) >= PIECE:
            piece, self._waiting = self._waiting[:PIECE], self._waiting[PIECE:]
            full += self._put([(piece, self._style)])
        return full

    def end(self) -> list[Row]:
        """Return the rest of the line."""
        full = self._put([(self._waiting, self._style)])
        last, self._row, self._cells, self._waiting = self._row, (), 0, ""
        return [*full, row(last)]

    def finish(self) -> list[Row]:
        """Return nothing: each line has ended."""
        return []

    def resize(self, width: int) -> list[Row]:
        """Lay the open row out for another width."""
        begun, self._row, self._cells, self.width = self._row, (), 0, width
        return self._put(list(begun))

    def _put(self, spans: list[Span]) -> list[Row]:
        full = []
        for text, style in spans:
            first, *others = chop(text, self.width - self._cells, self.width)
            self._row, self._cells = (*self._row, (first, style)), self._cells + cells(first)
            for other in others:
                full.append(row(self._row))
                self._row, self._cells = ((other, style),), cells(other)
        return full


HELD = 100  # characters; a longer line is not held for the next one to make it a heading


class Leaf(Protocol):
    """Take the lines of a block of text that is open."""

    def line(self, text: str, /, *, whole: bool) -> list[Row]: ...

    def feed(self, text: str, /) -> list[Row]: ...

    def end(self) -> list[Row]: ...

    def finish(self) -> list[Row]: ...

    def preview(self, last: int, /) -> list[Row]: ...

    def resize(self, width: int) -> list[Row]: ...

    def copy(self) -> Self: ...


Writer = TypeVar("Writer", Flow, Verbatim)


class _Leaf(Generic[Writer]):
    """Share what leaves do alike: they are as settled as their writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer: Writer = writer

    def feed(self, text: str) -> list[Row]:
        return self._writer.feed(text)

    def end(self) -> list[Row]:
        return self._writer.end()

    def finish(self) -> list[Row]:
        return self._writer.finish()

    def preview(self, _last: int) -> list[Row]:
        return self.finish()

    def resize(self, width: int) -> list[Row]:
        return self._writer.resize(width)

    def copy(self) -> Self:
        other = copy(self)
        other._writer = copy(self._writer)
        return other


class Paragraph(_Leaf[Flow]):
    """Hold lines of text. A line that the next one may make a heading or a table's head waits."""

    def __init__(self, theme: Theme, width: int) -> None:
        super().__init__(Flow(theme, width))
        self.held: str | None = None
        self._lines = 0

    def line(self, text: str, *, whole: bool) -> list[Row]:
        rows = self._release()
        self._lines += 1
        if whole and ("|" in text or (self._lines == 1 and len(text) <= HELD)):
            self.held = text.strip()
            return rows
        return rows + self._write(text.lstrip())

    def _release(self) -> list[Row]:
        held, self.held = self.held, None
        return [] if held is None else self._write(held)

    def _write(self, text: str) -> list[Row]:
        return self._writer.feed(text if self._lines == 1 else "\n" + text)

    @property
    def title(self) -> str | None:
        """Return the text that a line under it makes a heading."""
        return self.held if self._lines == 1 else None

    def head(self) -> tuple[list[Row], str]:
        """Return the rows above the held line, and that line."""
        held, self.held = self.held or "", None
        return ([] if self._lines == 1 else self._writer.finish()), held

    def finish(self) -> list[Row]:
        return self._release() + self._writer.finish()

    def preview(self, _last: int) -> list[Row]:
        rows = self._release()
        self._writer.close_markup()
        return rows + self._writer.finish()


class Heading(_Leaf[Flow]):
    """Hold one line, drawn by its level."""

    def __init__(self, theme: Theme, width: int, level: int) -> None:
        super().__init__(Flow(theme, width, theme.style(f"heading{min(level, 3)}")))

    def line(self, text: str, *, whole: bool) -> list[Row]:
        return self._writer.feed(blocks.heading_text(text) if whole else text.lstrip())


class Indented(_Leaf[Verbatim]):
    """Hold code that is code by its indentation, which it keeps."""

    def __init__(self, width: int) -> None:
        super().__init__(Verbatim(width))

    def line(self, text: str, *, whole: bool) -> list[Row]:
        return self._writer.line([(text, "")]) if whole else self._writer.feed(text)


class Html(_Leaf[Verbatim]):
    """Hold HTML as it is, up to the line that ends it."""

    def __init__(self, theme: Theme, width: int, end: re.Pattern[str]) -> None:
        super().__init__(Verbatim(width, theme.style("faint")))
        self._faint = theme.style("faint")
        self._end = end
        self.closed = False

    def line(self, text: str, *, whole: bool) -> list[Row]:
        self.closed = self._end is not blocks.BLANK and bool(self._end.search(text))
        return self._writer.line([(text, self._faint)]) if whole else self._writer.feed(text)

    @property
    def ends_at_blank(self) -> bool:
        """Return True if a blank line is its end."""
        return self._end is blocks.BLANK


class Code(_Leaf[Verbatim]):
    """Hold a fenced block, with its fences: they mark it where there is no colour."""

    def __init__(self, theme: Theme, width: int, fence: re.Match[str]) -> None:
        super().__init__(Verbatim(width))
        self._theme = theme
        spaces, self._fence, info = fence.groups()
        self._indent = len(spaces)
        self.ends_at_blank = False
        self._highlighter = Highlighter(info.split(" ")[0].strip("{}.").lower())
        self._closing = re.compile(rf" {{0,3}}{self._fence[0]}{{{len(self._fence)},}} *$")
        self.closed = False
        self.opening = self._writer.line([(self._fence + info.strip(), theme.style("faint"))])

    def line(self, text: str, *, whole: bool) -> list[Row]:
        if whole and self._closing.match(text):
            self.closed = True
            return self._writer.line([(text.strip(), self._theme.style("faint"))])
        text = text[min(self._indent, blocks.indent(text)) :]
        if not whole:
            return self._writer.feed(text)
        spans, self._highlighter = self._highlighter.line(text, self._theme)
        return self._writer.line(spans)
