"""Text that flows into rows: words are placed as soon as their markup is settled."""

import re
from collections.abc import Iterator

from tulu_cli.render.markdown import scan
from tulu_cli.render.markdown.cells import TAB, cells, chop
from tulu_cli.render.markdown.inline import spans
from tulu_cli.render.markdown.rows import Row, Span, row
from tulu_cli.render.markdown.theme import Theme

# A word, or an ideograph with the marks that must not begin a row behind it.
_CJK = scan.IDEOGRAPH
_STICKY = (
    "\u3001\u3002\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\u300d\u300f\u3011\u300b\u2019\u201d"
)
_WORDS = re.compile(rf"\n| +|[{_CJK}][\u0300-\u036f\u3099\u309a{_STICKY}]*|[^ \n{_CJK}]+")
_CJK_START = re.compile(f"[{_CJK}]")


class Flow:
    """A paragraph's text, of which all rows but the last come out as it is fed.

    All that it holds is immutable, so that a shallow copy is a Flow of its own.
    """

    def __init__(self, theme: Theme, width: int, style: str = "") -> None:
        self.width = width
        self._theme = theme
        self._style = style
        self._waiting = ""  # the markup that is not settled
        self._scanned = scan.Scanned()
        self._row: tuple[Span, ...] = ()
        self._cells = 0
        self._word: tuple[Span, ...] = ()  # what may still grow, where a piece ends within a word

    def feed(self, text: str) -> list[Row]:
        """The rows that are full."""
        self._waiting += text.replace("\t", " " * TAB)
        return self._settle(ended=False)

    def end(self) -> list[Row]:
        """The line ends, and its last row is open still."""
        return []

    def finish(self) -> list[Row]:
        """The rows that are left, the last one too."""
        full = self._settle(ended=True)
        full += self._place(self._waiting)
        full += self._put_word()
        self._waiting = ""
        return [*full, *([row(self._row)] if self._row else [])]

    def resize(self, width: int) -> list[Row]:
        """Lay the open row out for another width; rows that are full already stay as they are."""
        begun, self.width = self._row, width
        self._row, self._cells, word, self._word = (), 0, self._word, ()
        full = [made for text, style in begun for made in self._words(text, style)]
        full += self._put_word()
        self._word = word
        return full

    def close_markup(self) -> None:
        """Add what closes the markup that is open, as if it had come already."""
        place, open_ = self._scanned
        self._waiting = scan.closed(self._waiting, open_)
        self._scanned = scan.Scanned(min(place, len(self._waiting)), open_)

    def _settle(self, *, ended: bool) -> list[Row]:
        full: list[Row] = []
        start = 0
        cuts, self._scanned = scan.cuts(self._waiting, self._scanned, ended=ended)
        for end in cuts:
            full += self._place(self._waiting[start:end])
            start = end
        self._waiting = self._waiting[start:]
        return full

    def _place(self, text: str) -> list[Row]:
        full: list[Row] = []
        for piece, style in spans(text, self._theme, self._style) if text else ():
            full += self._words(piece, style)
        return full

    def _words(self, text: str, style: str) -> Iterator[Row]:
        for word in _WORDS.findall(text):
            yield from self._add(word, style)

    def _add(self, word: str, style: str) -> Iterator[Row]:
        if word == "\n":
            yield from self._put_word()
            yield row(self._row)
            self._row, self._cells = (), 0
        elif word[0] == " ":
            yield from self._put_word()
            # A row does not begin with space; at its end space is dropped.
            if self._row:
                self._row, self._cells = (*self._row, (word, style)), self._cells + len(word)
        elif _CJK_START.match(word):
            yield from self._put_word()
            self._word = ((word, style),)
            yield from self._put_word()
        else:
            self._word = (*self._word, (word, style))
            if len(self._word) * len(word) > scan.PATIENCE:
                yield from self._put_word()  # endless data, not a word

    def _put_word(self) -> Iterator[Row]:
        """Put the word on the row, on the next one, or on as many as it takes."""
        word, self._word = self._word, ()
        taken = sum(cells(text) for text, _style in word)
        if self._cells + taken > self.width and self._row:
            yield row(self._row)
            self._row, self._cells = (), 0
        for text, style in word:
            first, *others = chop(text, self.width - self._cells, self.width)
            self._row, self._cells = (*self._row, (first, style)), self._cells + cells(first)
            for other in others:
                yield row(self._row)
                self._row, self._cells = ((other, style),), cells(other)
