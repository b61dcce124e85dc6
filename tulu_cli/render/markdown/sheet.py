"""The rows that are settled, and what drawing them costs."""

from copy import copy

from tulu_cli.render.markdown.rows import Row, encode, plain, row, unstyled
from tulu_cli.render.markdown.theme import Theme

THRIFT = 2.0  # bytes of a row with its styles for each byte of its text, over the whole answer
SLACK = 512  # bytes that a short answer may take beyond that


class Sheet:
    """Takes rows, and gives them back once. A row whose styles cost too much goes without them.

    The account is of settled rows alone, so it is the same however the text comes.
    """

    def __init__(self, theme: Theme) -> None:
        self.spent = 0  # bytes of all rows so far, with their styles and line ends
        self.begun = False
        self._earned = 0
        self._theme = theme
        self._rows: list[Row] = []

    def copy(self) -> "Sheet":
        """A sheet with the same account, and rows of its own."""
        other = copy(self)
        other._rows = list(self._rows)
        return other

    def take(self) -> list[Row]:
        """The rows since the last time."""
        rows, self._rows = self._rows, []
        return rows

    def add(self, line: Row, text: Row) -> None:
        """One more row, which shows this text."""
        if not self._affords(_size(line)):
            line = unstyled(line)
        self.begun = True
        self.spent += _size(line)
        words = plain(text).replace(self._theme.rule, "").split()
        self._earned += len(" ".join(words).encode()) + 1
        self._rows.append(line)

    def rule(self, width: int) -> Row:
        """A rule as wide as there is room, or of three signs where that is too much to write."""
        wide = self._theme.rule * width
        sign = wide if self._affords(len(wide.encode())) else self._theme.rule * 3
        return row([(sign, self._theme.style("faint"))])

    def _affords(self, count: int) -> bool:
        return self.spent + count <= THRIFT * self._earned + SLACK


def _size(line: Row) -> int:
    return len(encode(line).encode()) + 1
