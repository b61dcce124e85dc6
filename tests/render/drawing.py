"""Drawing an answer on an emulated terminal, in whatever pieces it comes."""

import io
import os
import re
from collections.abc import Iterable, Iterator

from tests.render.events import done, text
from tests.render.screen import Screen
from tulu_cli.render.collector import Collector
from tulu_cli.render.pretty import PrettyRenderer
from tulu_cli.streams import Streams

# All that may be written of our own: colours, and moves and erasures within the live rows.
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\d+[ACG]|K)")


class Terminal(Streams):
    """Streams on an emulated terminal, which reads what was written when it is looked at."""

    def __init__(self, screen: Screen, *, color: bool = True) -> None:
        nothing = io.BytesIO
        super().__init__(nothing(), nothing(), nothing(), True, True, True, color)
        self.written = b""
        self._screen = screen
        self._read = 0

    @property
    def screen(self) -> Screen:
        """The screen as it is now."""
        self._screen.write(self.written[self._read :])
        self._read = len(self.written)
        return self._screen

    def size(self) -> os.terminal_size:
        return os.terminal_size((self._screen.columns, self._screen.lines))

    def resize(self, columns: int, lines: int) -> None:
        """Another size; rows that are wider are cut."""
        self.screen.shrink(min(lines, self._screen.lines))
        self._screen.resize(lines, columns)

    def reflow(self, columns: int) -> None:
        """Another width; rows that are wider are broken anew, as most terminals do today."""
        rows = self.screen.rows()
        self._screen = Screen(columns, self._screen.lines)
        self._screen.write("\n".join(rows).encode())

    def write_styled(self, text: str) -> None:
        self.written += text.encode("utf-8", errors="replace")


def pieces(answer: str, size: int) -> Iterator[str]:
    return (answer[i : i + size] for i in range(0, len(answer), size))


def draw(
    parts: Iterable[str], columns: int = 80, lines: int = 24, *, joins: bool = True
) -> Terminal:
    """The terminal after an answer that came in these parts."""
    terminal = Terminal(Screen(columns, lines, joins=joins))
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    for part in parts:
        renderer.show(text(part))
    renderer.show(done())
    renderer.finish("stop")
    return terminal
