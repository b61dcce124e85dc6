"""Rows of styled text, and the bytes that draw them on a terminal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from tulu_cli.text import cells, terminal_safe

TAB = 4  # cells; terminals say 8, and code with 8 does not fit them


def certain(text: str) -> bool:
    """Return True if all terminals agree on the columns that a text takes."""
    if text.isascii():
        return True
    from wcwidth import wcswidth, wcwidth

    return bool(wcswidth(text) == sum(wcwidth(char) for char in text))


Span = tuple[str, str]  # text, and SGR parameters or ""
Row = tuple[Span, ...]

_RESET = "\x1b[m"
_GAP = re.compile(r"( {8,})")
_ANY_GAP = re.compile(r"( {2,})")


def row(spans: Iterable[Span]) -> Row:
    """Return spans as a row, with equal neighbours joined and no space at the end.

    Space has no colour, so it takes that of what is before it where the same follows.
    """
    joined: list[Span] = []
    for text, style in spans:
        if not text:
            continue
        if joined and joined[-1][1] == style:
            joined[-1] = (joined[-1][0] + text, style)
        elif len(joined) > 1 and joined[-2][1] == style and _invisible(joined[-1]):
            space = joined.pop()[0]
            joined[-1] = (joined[-1][0] + space + text, style)
        else:
            joined.append((text, style))
    while joined and joined[-1][0].isspace():
        joined.pop()
    if joined:
        joined[-1] = (joined[-1][0].rstrip(" "), joined[-1][1])
    return tuple(joined)


def _invisible(span: Span) -> bool:
    return span[1] == "" and span[0].isspace()


def plain(line: Row) -> str:
    """Return the text of a row."""
    return "".join(text for text, _style in line)


def unstyled(line: Row) -> Row:
    """Return the row without its colours."""
    return row((text, "") for text, _style in line)


def is_certain(line: Row) -> bool:
    """Return True if all terminals agree on where each character of the row stands."""
    return certain(plain(line))


@lru_cache(256)
def encode(line: Row, column: int = 0, sure: bool = True) -> str:
    """Return what draws a row from a column on, over blank cells, and ends without a style.

    Wide gaps are jumped. Behind text on whose width terminals disagree (`sure` is False where it
    stands before the row) every gap is a jump to the column where it ends, so that the columns of
    a table stand one under the other on each of them.
    """
    parts, active = [], ""
    for text, style in line:
        if style != active:
            parts.append(_change(active, style))
            active = style
        sure = sure and certain(text)
        parts.append(_drawn(terminal_safe(text), column, sure=sure))
        column += cells(text)
    if active:
        parts.append(_RESET)
    return "".join(parts)


def _change(active: str, style: str) -> str:
    """Return the SGR sequence from one style to another: what is added, or all anew."""
    if not style:
        return _RESET
    added = style.removeprefix(f"{active};") if active else style
    return f"\x1b[{added if added != style or not active else f'0;{style}'}m"


def _drawn(text: str, column: int, *, sure: bool) -> str:
    if "  " not in text:
        return text
    parts = []
    for part in (_GAP if sure else _ANY_GAP).split(text):
        column += cells(part)
        jump = f"\x1b[{len(part)}C" if sure else f"\x1b[{column + 1}G"
        parts.append(jump if part.isspace() and len(part) > (7 if sure else 1) else part)
    return "".join(parts)


# Attributes speak without colour; colours are the sixteen of the user's own palette, which suit
# a light background as well as a dark one.
_ATTRIBUTES = {
    "heading1": "1;4",
    "heading2": "1",
    "heading3": "1;3",
    "strong": "1",
    "emphasis": "3",
    "strike": "9",
    "link": "4",
    "address": "2",
    "faint": "2",
    "bold": "1",
}
_COLORS = {
    "heading1": "1;4;35",
    "heading2": "1;35",
    "heading3": "35",
    "code": "36",
    "math": "36",
    "link": "4;34",
    "marker": "33",
    "keyword": "35",
    "string": "32",
    "comment": "90",
    "number": "36",
    "name": "34",
    "kind": "33",
    "inserted": "32",
    "deleted": "31",
}


@dataclass(frozen=True, eq=False)
class Theme:
    """Hold SGR parameters by name, "" for none, and signs of the terminal's character set.

    One is as good as itself, and so can be a key.
    """

    styles: dict[str, str] = field(default_factory=dict)
    bullets: tuple[str, ...] = ("•", "◦", "▪")
    bar: str = "│"
    rule: str = "─"

    def style(self, name: str) -> str:
        """Return the SGR parameters of a name."""
        return self.styles.get(name, "")


def theme(*, color: bool, utf8: bool) -> Theme:
    """Return the theme for a terminal; without colour, bold stays bold."""
    styles = _ATTRIBUTES | _COLORS if color else _ATTRIBUTES
    if utf8:
        return Theme(styles)
    return Theme(styles, bullets=("-", "*", "+"), bar="|", rule="-")
