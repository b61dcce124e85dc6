"""The tokens of a prompt, and the source of a template, for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from tulu_cli.render import columns
from tulu_cli.render.columns import GAP, aligned
from tulu_cli.text import cells, clip, one_line, terminal_safe

_HEADINGS = ("#", "id", "text", "turn", "special", "thought", "learnt", "bytes")
_NUMBERS, _PAINTED, _TEXT = (0, 1), (2, 3), 2  # places of columns
_FEWEST = 11  # columns for bytes, at the least
_COLORS = (36, 32, 35, 33, 34)  # SGR: cyan, green, magenta, yellow, blue
# So that the ends of a line can be seen, and spaces counted.
_VISIBLE = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "\u00b7"}
_MOST_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Look:
    """Hold the width in columns, and the colour, of the terminal that a table is for."""

    width: int
    color: bool


@dataclass(frozen=True, slots=True)
class Cells:
    """Hold one row: a token. `learnt` is None if it is not known."""

    id: str
    piece: str
    data: bytes
    role: str
    special: bool
    learnt: bool | None
    thought: bool = False


def token_table(rows: Sequence[Cells], look: Look) -> str:
    """Return the table as text; each role has its colour where there are any.

    Bytes that the width has no room for are cut, and an ellipsis stands for them. A prompt without
    thoughts has no column for them.
    """
    table: list[tuple[str, ...]] = [
        (
            str(number),
            row.id,
            visible(row.piece),
            one_line(row.role),
            "special" if row.special else "",
            "thought" if row.thought else "",
            {True: "yes", False: "", None: "?"}[row.learnt],
            row.data.hex(" "),
        )
        for number, row in enumerate(rows)
    ]
    headings: tuple[str, ...] = _HEADINGS
    if not any(row.thought for row in rows):
        headings, *table = (_without_thought(line) for line in (headings, *table))
    taken = max(map(cells, aligned([line[:-1] for line in (headings, *table)], _NUMBERS)))
    room = max(look.width - taken - len(GAP), _FEWEST)
    table = [(*line[:-1], clip(line[-1], room)) for line in table]
    if not look.color:
        return columns.table([headings, *table], right=_NUMBERS)
    roles = list(dict.fromkeys(row.role for row in rows))

    def paint(line: int, column: int, text: str) -> str:
        if line == 0 or column not in _PAINTED:
            return text
        row = rows[line - 1]
        bold = "1;" if column == _TEXT and row.special else ""
        return f"\x1b[{bold}{_COLORS[roles.index(row.role) % len(_COLORS)]}m{text}\x1b[0m"

    return columns.table([headings, *table], right=_NUMBERS, paint=paint)


def _without_thought(line: tuple[str, ...]) -> tuple[str, ...]:
    at = _HEADINGS.index("thought")
    return (*line[:at], *line[at + 1 :])


def visible(piece: str) -> str:
    """Return a token's text on one line, its white space visible, and safe for a terminal."""
    cut = piece if len(piece) <= _MOST_CHARACTERS else piece[: _MOST_CHARACTERS - 1] + "\u2026"
    return terminal_safe("".join(_VISIBLE.get(char, char) for char in cut))


def highlight(source: str, width: int) -> str:
    """Return a Jinja source in colours, with long lines wrapped at `width` columns.

    The source is made safe for a terminal first.
    """
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(force_terminal=True, color_system="standard", width=width)
    syntax = Syntax(
        terminal_safe(source),
        "jinja",
        theme="ansi_dark",
        background_color="default",
        word_wrap=True,
    )
    with console.capture() as capture:
        console.print(syntax, end="")
    return capture.get()
