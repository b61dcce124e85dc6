"""Markdown in, rows out: a machine that reads lines as they come and never takes back a row."""

import re
from copy import copy

from tulu_cli.render.markdown import blocks
from tulu_cli.render.markdown.leaves import HELD, Code, Heading, Html, Indented, Leaf, Paragraph
from tulu_cli.render.markdown.rows import TAB, Row, Theme, encode, plain, row, unstyled
from tulu_cli.render.markdown.table import Table

THRIFT = 2.0  # bytes of a row with its styles for each byte of its text, over the whole answer
SLACK = 512  # bytes that a short answer may take beyond that


class Sheet:
    """Take rows, and give them back once. A row whose styles cost too much goes without them.

    The account is of settled rows alone, so it is the same however the text comes.
    """

    def __init__(self, theme: Theme) -> None:
        self.spent = 0  # bytes of all rows so far, with their styles and line ends
        self.begun = False
        self._earned = 0
        self._theme = theme
        self._rows: list[Row] = []

    def copy(self) -> "Sheet":
        """Return a sheet with the same account, and rows of its own."""
        other = copy(self)
        other._rows = list(self._rows)
        return other

    def take(self) -> list[Row]:
        """Return the rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def add(self, line: Row, text: Row) -> None:
        """Add a row, which shows this text."""
        if not self._affords(_size(line)):
            line = unstyled(line)
        self.begun = True
        self.spent += _size(line)
        words = plain(text).replace(self._theme.rule, "").split()
        self._earned += len(" ".join(words).encode()) + 1
        self._rows.append(line)

    def rule(self, width: int) -> Row:
        """Add a rule of the full width, or of three signs if that is too much to write."""
        wide = self._theme.rule * width
        sign = wide if self._affords(len(wide.encode())) else self._theme.rule * 3
        return row([(sign, self._theme.style("faint"))])

    def _affords(self, count: int) -> bool:
        return self.spent + count <= THRIFT * self._earned + SLACK


def _size(line: Row) -> int:
    return len(encode(line).encode()) + 1


LONGEST = 4000  # characters; a longer line is text, whatever its end would make of it
_UNCLEAR = re.compile(r"[-=*_+~`#>|: ]*")
_FENCE_LIKE = re.compile(r" *(?:`+|~+) *")


class Document:
    """Hold an answer that grows.

    `feed` gives the rows that nothing can change any more, `finish` the others, `tail` what
    `finish` would give now. The first HELD characters of a line decide what it is; where they
    cannot, the whole line does.
    """

    def __init__(self, theme: Theme, width: int) -> None:
        self._sheet = Sheet(theme)
        self._theme = theme
        self._width = width
        self._stack: blocks.Stack = ()
        self._leaf: Leaf | None = None
        self._line = ""  # what has come of a line that is not understood yet
        self._flows = False  # the line is understood, and what comes of it goes to the leaf
        self._gap: Row | None = None  # the blank row before whatever comes next

    @property
    def spent(self) -> int:
        """Return the bytes that draw all settled rows."""
        return self._sheet.spent

    @property
    def pending(self) -> int:
        """Return the number of characters of a line that is laid out as a whole when it ends."""
        return len(self._line)

    def feed(self, text: str) -> list[Row]:
        """Return the rows that this piece of the text settles."""
        *lines, rest = text.split("\n")
        for line in lines:
            self._take(line)
            self._end_line()
        self._take(rest)
        return self._sheet.take()

    def finish(self, last: int | None = None) -> list[Row]:
        """Return the rows that are left; for a preview the `last` ones of a table are enough."""
        if self._line or self._flows:
            self._end_line()
        self._close(0, last)
        return self._sheet.take()

    def tail(self, last: int) -> list[Row]:
        """Return the last rows of those that are not settled, as they look so far."""
        ahead = self.copy()
        if ahead._is_unclear():
            ahead._line = ""
        return ahead.finish(last)[-last:]

    def copy(self) -> "Document":
        """Return an independent document with the same past."""
        other = copy(self)
        other._leaf = self._leaf.copy() if self._leaf else None
        other._sheet = self._sheet.copy()
        return other

    def resize(self, width: int) -> list[Row]:
        """Change the width, and return the rows that this settles."""
        self._width = width
        if self._leaf:
            self._emit(self._leaf.resize(self._room()))
        return self._sheet.take()

    def _is_unclear(self) -> bool:
        """Return True if the line so far may still begin several kinds of block."""
        pattern = _FENCE_LIKE if isinstance(self._leaf, Code) else _UNCLEAR
        return not isinstance(self._leaf, Html) and bool(pattern.fullmatch(self._line))

    def _take(self, text: str) -> None:
        """Take more of a line."""
        if not text:
            return
        if self._flows and self._leaf:
            self._emit(self._leaf.feed(text))
            return
        self._line += text
        if len(self._line) > LONGEST:
            self._begin(LONGEST)
        elif len(self._line) > HELD and not self._waits():
            self._begin(HELD)

    def _waits(self) -> bool:
        """Return True if only the whole line can be understood."""
        head = self._line[:HELD]
        return (
            isinstance(self._leaf, Code | Html | Table)
            or any(sign in head for sign in ("|", "```", "~~~"))
            or head.lstrip(" >").startswith("<")
            or bool(_UNCLEAR.fullmatch(head))
        )

    def _begin(self, count: int) -> None:
        """Begin a line that its first characters decide, and let the rest flow."""
        head, rest, self._line = self._line[:count], self._line[count:], ""
        self._open(head.expandtabs(TAB), whole=False)
        self._flows = True
        self._take(rest)

    def _end_line(self) -> None:
        if self._flows and self._leaf:
            self._emit(self._leaf.end())
        else:
            line, self._line = self._line, ""
            self._open(line.expandtabs(TAB), whole=True)
        self._flows = False
        if isinstance(self._leaf, Heading | Indented):
            self._close(len(self._stack))

    def _open(self, line: str, *, whole: bool) -> None:
        """Find the block that a line, or the first part of one, belongs to."""
        depth, rest = blocks.match(self._stack, line)
        inside = depth == len(self._stack)
        if whole and not rest.strip():
            self._blank(depth)
        elif inside and isinstance(self._leaf, Code | Html):
            self._verbatim(self._leaf, rest, whole=whole)
        elif not (inside and whole and self._retitled(rest)):
            self._text(depth, rest, whole=whole)

    def _blank(self, depth: int) -> None:
        leaf = self._leaf
        if depth == len(self._stack) and isinstance(leaf, Code | Html) and not leaf.ends_at_blank:
            self._verbatim(leaf, "", whole=True)
            return
        self._close(depth)
        if self._sheet.begun:
            shown = blocks.all_shown(self._stack)
            self._gap = row(blocks.prefix(shown, self._theme, self._width))

    def _verbatim(self, leaf: Code | Html, text: str, *, whole: bool) -> None:
        self._emit(leaf.line(text, whole=whole))
        if leaf.closed:
            self._leaf = None

    def _retitled(self, line: str) -> bool:
        """Make the held line above a heading or the head of a table, if this line says so."""
        leaf = self._leaf
        if not isinstance(leaf, Paragraph) or leaf.held is None:
            return False
        underline = blocks.UNDERLINE.match(line)
        if underline and leaf.title is not None:
            self._leaf = Heading(self._theme, self._room(), 1 if "=" in underline[1] else 2)
            self._emit(self._leaf.feed(leaf.title))
            return True
        if blocks.is_table(leaf.held, line):
            rows, head = leaf.head()
            self._emit(rows)
            self._leaf = Table(self._theme, self._room(), head, line)
            return True
        return False

    def _text(self, depth: int, rest: str, *, whole: bool) -> None:
        """Take a line that begins a block, continues a paragraph or is a row of a table."""
        before = self._stack
        rest = self._containers(depth, rest)
        same = self._stack is before
        if not rest.strip():
            return
        if self._starts(depth if same else len(self._stack), rest, whole=whole):
            return
        goes_on = isinstance(self._leaf, Paragraph) or (
            isinstance(self._leaf, Table) and whole and depth == len(self._stack)
        )
        if self._leaf is None or not same or not goes_on:
            if same:
                self._close(depth)
            code = blocks.indent(rest) >= 4
            self._set(Indented(self._room()) if code else Paragraph(self._theme, self._room()))
        if self._leaf:
            self._emit(self._leaf.line(rest, whole=whole))

    def _containers(self, depth: int, rest: str) -> str:
        """Open the quotes and list items that a line begins; return the rest of the line."""
        sibling = self._stack[depth] if depth < len(self._stack) else None
        while blocks.indent(rest) < 4:
            if quote := blocks.QUOTE.match(rest):
                self._push(depth, blocks.Quote())
                rest = rest[quote.end() :]
            elif (marker := blocks.marker(rest)) and self._may_begin(marker, depth):
                self._push(depth, blocks.opened(marker, sibling))
                rest = rest[marker.length :]
            else:
                break
            sibling, depth = None, len(self._stack)
        return rest

    def _may_begin(self, marker: blocks.Marker, depth: int) -> bool:
        """Return True if an item may interrupt a paragraph: it has text, and number 1 if any."""
        inside = isinstance(self._leaf, Paragraph) and depth == len(self._stack)
        return not inside or (not marker.empty and marker.number in (None, 1))

    def _push(self, depth: int, container: blocks.Container) -> None:
        self._close(depth)
        self._stack = (*blocks.filled(self._stack), container)

    def _starts(self, depth: int, rest: str, *, whole: bool) -> bool:
        """Open the block that the line begins; return True if it is not a paragraph."""
        if blocks.indent(rest) >= 4:
            return False
        if heading := blocks.HEADING.match(rest):
            self._close(depth)
            leaf: Leaf = Heading(self._theme, self._room(), len(heading[1]))
            self._set(leaf)
            self._emit(leaf.line(rest[heading.end() :], whole=whole))
        elif whole and (fence := blocks.FENCE.match(rest)):
            self._close(depth)
            code = Code(self._theme, self._room(), fence)
            self._set(code)
            self._emit(code.opening)
        elif whole and blocks.RULE.match(rest):
            self._close(depth)
            self._emit([self._sheet.rule(self._room())])
        elif end := blocks.html_end(rest):
            self._close(depth)
            html = Html(self._theme, self._room(), end)
            self._set(html)
            self._verbatim(html, rest, whole=whole)
        else:
            return False
        return True

    def _set(self, leaf: Leaf) -> None:
        self._leaf = leaf
        self._stack = blocks.filled(self._stack)

    def _close(self, depth: int, last: int | None = None) -> None:
        """End the leaf, and the containers that are deeper."""
        if self._leaf:
            self._emit(self._leaf.finish() if last is None else self._leaf.preview(last))
        self._leaf = None
        if any(map(blocks.is_hidden, self._stack[depth:])):
            self._emit([()])
        self._stack = self._stack[:depth] if depth < len(self._stack) else self._stack

    def _room(self) -> int:
        """Return the width that is left for text."""
        before = blocks.prefix(self._stack, self._theme, self._width)
        return max(1, self._width - blocks.span_cells(before))

    def _emit(self, rows: list[Row]) -> None:
        """Settle the rows of a leaf, with what stands before them."""
        for made in rows:
            gap, self._gap = self._gap, None
            if gap is not None:
                self._sheet.add(gap, ())
            before = blocks.prefix(self._stack, self._theme, self._width)
            self._stack = blocks.all_shown(self._stack)
            self._sheet.add(row([*before, *made]), made)
