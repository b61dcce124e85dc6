"""Draw a terminal's screen as an SVG with searchable text that loads nothing from the network."""

import io
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

# rich's own frame loads a font from the net.
_FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
_THEME = TerminalTheme(
    (30, 32, 38),
    (212, 214, 220),
    [
        (72, 76, 86), (224, 108, 117), (143, 196, 120), (225, 188, 112),
        (104, 172, 240), (198, 130, 222), (96, 188, 198), (200, 203, 210),
    ],
    [
        (128, 134, 148), (240, 134, 142), (166, 216, 144), (240, 206, 138),
        (134, 194, 250), (216, 156, 238), (124, 208, 218), (244, 245, 248),
    ],
)  # fmt: skip


def drawn(screen: pyte.Screen, title: str = "tulu") -> str:
    """Return the screen as SVG, down to its last row that is not empty."""
    console = Console(
        record=True,
        width=screen.columns,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    for row in range(_height(screen)):
        console.print(Text.assemble(*_runs(screen, row)), no_wrap=True, crop=False)
    return console.export_svg(title=title, theme=_THEME, code_format=_FRAME, unique_id="tulu")


def _height(screen: pyte.Screen) -> int:
    return max((row + 1 for row, text in enumerate(screen.display) if text.strip()), default=0)


def _runs(screen: pyte.Screen, row: int) -> Iterator[tuple[str, Style]]:
    """Yield the row as pieces of text in one style each, without trailing blanks."""
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    while cells and cells[-1] == screen.default_char:
        cells.pop()
    for style, run in groupby(cells, _style):
        yield "".join(cell.data for cell in run), style


def _style(cell: Any) -> Style:
    return Style(
        color=_color(cell.fg),
        bgcolor=_color(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        strike=cell.strikethrough,
        reverse=cell.reverse,
    )


def _color(name: str) -> str | None:
    """Return rich's name for a colour of pyte: a word, or six hexadecimal digits."""
    if name == "default":
        return None
    if set(name) <= set("0123456789abcdef"):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")
