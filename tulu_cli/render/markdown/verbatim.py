"""Text that keeps its lines: code and HTML, cut at the last cell and nowhere else."""

from tulu_cli.render.markdown.cells import TAB, cells, chop
from tulu_cli.render.markdown.rows import Row, Span, row

PIECE = 1000  # characters of an endless line that are laid out at once


class Verbatim:
    """One line after the other, each as a whole or, where it is endless, in pieces."""

    def __init__(self, width: int, style: str = "") -> None:
        self.width = width
        self._style = style
        self._row: tuple[Span, ...] = ()
        self._cells = 0
        self._waiting = ""

    def line(self, spans: list[Span]) -> list[Row]:
        """The rows of a whole line."""
        return [*self._put(spans), *self.end()]

    def feed(self, text: str) -> list[Row]:
        """The full rows of a line that goes on."""
        self._waiting += text.replace("\t", " " * TAB)
        full = []
        while len(self._waiting) >= PIECE:
            piece, self._waiting = self._waiting[:PIECE], self._waiting[PIECE:]
            full += self._put([(piece, self._style)])
        return full

    def end(self) -> list[Row]:
        """The rest of the line."""
        full = self._put([(self._waiting, self._style)])
        last, self._row, self._cells, self._waiting = self._row, (), 0, ""
        return [*full, row(last)]

    def finish(self) -> list[Row]:
        """Nothing is left: each line has ended."""
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
