"""A terminal for the tests: pyte's emulator, which here also keeps what scrolls off its top."""

import unicodedata
from typing import Any

import pyte
from wcwidth import wcwidth

JOINER, EMOJI_LOOK = "\u200d", "\ufe0f"


class Screen(pyte.Screen):
    """With `joins` it draws a joined emoji as one, as new terminals do, else its parts."""

    def __init__(self, columns: int = 80, lines: int = 24, *, joins: bool = True) -> None:
        self.scrolled: list[list[Any]] = []
        self._joins = joins
        self._joined: tuple[int, int] | None = None  # where the next character is joined
        super().__init__(columns, lines)
        self._stream = pyte.ByteStream(self)

    def write(self, data: bytes) -> None:
        """What a program writes, by way of the terminal's line discipline."""
        self._stream.feed(data.replace(b"\n", b"\r\n"))

    def shrink(self, lines: int) -> None:
        """Fewer lines, of which the cursor's stays: what is above goes to the scrollback."""
        above = max(0, self.cursor.y + 1 - lines)
        self.scrolled += [self._cells(y) for y in range(above)]
        kept = [self.buffer[above + y] for y in range(lines)]
        self.buffer.clear()
        self.buffer.update(enumerate(kept))
        self.cursor.y -= above
        self.lines = lines

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.scrolled.append(self._cells(0))
        super().index()

    def draw(self, data: str) -> None:
        for char in data:
            if self._belongs(char):
                self._extend(char)
            else:
                super().draw(char)

    def _belongs(self, char: str) -> bool:
        """Whether a character is drawn into the cell of the one before it."""
        here = (self.cursor.x, self.cursor.y)
        joined, self._joined = self._joined == here, here if char == JOINER else None
        if wcwidth(char) == 0 or unicodedata.combining(char):
            return True
        modifier = 0x1F3FB <= ord(char) <= 0x1F3FF
        return self._joins and (joined or modifier or self._is_second_of_flag(char))

    def _is_second_of_flag(self, char: str) -> bool:
        return _is_flag(char) and _is_flag(self._before())

    def _before(self) -> str:
        """What the cell before the cursor shows."""
        line, place = self.buffer[self.cursor.y], self.cursor.x - 1
        return str(line[place].data or line[place - 1].data) if place > 0 else ""

    def _extend(self, char: str) -> None:
        line, place = self.buffer[self.cursor.y], self.cursor.x - 1
        if place < 0:
            return
        place -= not line[place].data and place > 0
        widens = self._joins and char == EMOJI_LOOK and wcwidth(line[place].data[0]) == 1
        line[place] = line[place]._replace(data=line[place].data + char)
        if widens and self.cursor.x < self.columns:
            line[self.cursor.x] = line[place]._replace(data="")
            self.cursor.x += 1

    def _cells(self, y: int) -> list[Any]:
        """A row; space has no look of its own."""
        cells = (self.buffer[y][x] for x in range(self.columns))
        return [self.default_char if cell.data == " " else cell for cell in cells]

    def styled(self) -> list[list[Any]]:
        """All rows from the first that scrolled off to the cursor's, as cells."""
        return [*self.scrolled, *(self._cells(y) for y in range(self.cursor.y + 1))]

    def rows(self) -> list[str]:
        """The same as text, without space at the ends of rows."""
        return [_text(cells) for cells in self.styled()]

    def below(self) -> list[str]:
        """The rows under the cursor's: there should be nothing."""
        return [_text(self._cells(y)) for y in range(self.cursor.y + 1, self.lines)]


def _is_flag(char: str) -> bool:
    """Whether it is one of the two letters that make a flag."""
    return len(char) == 1 and 0x1F1E6 <= ord(char) <= 0x1F1FF


def _text(cells: list[Any]) -> str:
    return "".join(cell.data for cell in cells).rstrip()
