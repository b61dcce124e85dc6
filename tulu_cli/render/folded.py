"""The thought on a terminal that draws: a window on its end, and then one row in its place."""

from collections import deque

from tulu_cli.render.live import redraw
from tulu_cli.render.markdown.rows import Row, row, theme
from tulu_cli.streams import Streams
from tulu_cli.text import cells, chop, plural, terminal_safe

WINDOW = 4  # rows


class FoldedThought:
    """Draw the last rows of the thought, dim; where the answer begins, one row stands for it.

    Rows that have left the window are never in the scrollback, so that nothing has to be taken back
    there. A thought without an answer leaves its last rows.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._faint = theme(color=streams.color, utf8=True).style("faint")
        self._live: tuple[Row, ...] = ((),)
        self._rows: deque[str] = deque(maxlen=WINDOW)
        self._line = ""  # the last one, which grows
        self._columns = self._tokens = self._characters = 0  # no columns: nothing is drawn

    def add(self, text: str, tokens: int = 0) -> None:
        """Draw a piece."""
        self._tokens += tokens
        self._characters += len(text)
        if not text:
            return
        columns, lines = self._streams.size()
        if columns != self._columns:
            # How the terminal has broken the old rows anew is not known: none is relied on.
            self._live = tuple(((" ", "0"),) for _ in self._live) if self._columns else ((),)
            self._columns = columns
        safe = terminal_safe(text.replace("\r\n", "\n")).replace("\t", "    ")
        for number, part in enumerate(safe.split("\n")):
            if number:
                self._end_row(self._line)
                self._line = ""
            self._line += part
            self._break_line(max(1, columns - 1))
        shown = [*self._rows, self._line][-max(1, min(WINDOW, lines - 1)) :]
        self._draw([row([(text, self._faint)]) for text in shown])

    def fold(self) -> None:
        """Put one row in the place of the thought."""
        if not self._columns:
            return
        size = (self._tokens, "token") if self._tokens else (self._characters, "character")
        self._draw([row([(f"Thought: {plural(*size)}.", self._faint)]), ()])
        self._forget()

    def close(self) -> None:
        """Leave the last rows as they are."""
        if self._columns:
            self._forget()
            self._streams.write_styled("\n")

    def _forget(self) -> None:
        self._live, self._line = ((),), ""
        self._rows.clear()
        self._columns = self._tokens = self._characters = 0

    def _break_line(self, width: int) -> None:
        """Move what does not fit a row of the line that grows to the rows above it."""
        while cells(head := self._line[: width + 1]) > width:
            fitting = chop(head, width, width)[0] or head[:1]
            end = fitting.rfind(" ") + 1 or len(fitting)
            self._end_row(self._line[:end])
            self._line = self._line[end:].lstrip(" ")

    def _end_row(self, text: str) -> None:
        if text.strip():
            self._rows.append(text.rstrip())

    def _draw(self, rows: list[Row]) -> None:
        drawn = redraw(self._live, rows)
        self._live = tuple(rows)
        if drawn:
            self._streams.write_styled(drawn)
