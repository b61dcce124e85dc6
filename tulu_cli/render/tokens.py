"""The tokens of a prompt as a table for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from tulu_cli.streams import terminal_safe

_COLORS = ("cyan", "green", "magenta", "yellow", "blue")
# So that the ends of a line can be seen, and spaces counted.
_VISIBLE = {"\n": "\\n", "\t": "\\t", "\r": "\\r", " ": "\u00b7"}
_MOST_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Look:
    """The terminal that the table is for."""

    width: int
    color: bool


@dataclass(frozen=True, slots=True)
class Cells:
    """One row: a token. `learnt` None says that nothing is known of it."""

    id: str
    piece: str
    data: bytes
    role: str
    special: bool
    learnt: bool | None


def token_table(rows: Sequence[Cells], look: Look) -> str:
    """The table as text; each role has its colour where there are any."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("#", "id"):
        table.add_column(name, justify="right")
    for name in ("text", "bytes", "turn", "special", "learnt"):
        table.add_column(name, no_wrap=name != "bytes")
    roles = list(dict.fromkeys(row.role for row in rows))
    for number, row in enumerate(rows):
        color = _COLORS[roles.index(row.role) % len(_COLORS)]
        bold = "bold " if row.special else ""
        table.add_row(
            Text(str(number)),
            Text(row.id),
            Text(visible(row.piece), style=f"{bold}{color}"),
            Text(row.data.hex(" "), style="dim"),
            Text(terminal_safe(row.role), style=color),
            Text("special" if row.special else ""),
            Text({True: "yes", False: "", None: "?"}[row.learnt]),
        )
    console = Console(
        width=look.width,
        force_terminal=look.color,
        color_system="standard" if look.color else None,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def visible(piece: str) -> str:
    """A token's text on one line, its white space seen, and nothing in it obeyed."""
    cut = piece if len(piece) <= _MOST_CHARACTERS else piece[: _MOST_CHARACTERS - 1] + "\u2026"
    return terminal_safe("".join(_VISIBLE.get(char, char) for char in cut))


def highlight(source: str, width: int) -> str:
    """A Jinja source with escape sequences for its colours, long lines wrapped at `width`.

    What the source itself might command a terminal is made visible first.
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
