"""How the lines of Markdown's blocks begin, as CommonMark and GitHub's tables have it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tulu_cli.render.markdown.rows import Span, Theme
from tulu_cli.text import cells

QUOTE = re.compile(r" {0,3}> ?")
RULE = re.compile(r" {0,3}(?:(?:- *){3,}|(?:_ *){3,}|(?:\* *){3,})$")
HEADING = re.compile(r" {0,3}(#{1,6})(?: +|$)")
UNDERLINE = re.compile(r" {0,3}(=+|-+) *$")
FENCE = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,}) *(.*)$")
ITEM = re.compile(r"( {0,3})([-+*]|(\d{1,9})([.)]))(?:( +)|$)")
# Of a line without space at its end; with it the time would grow with its square.
DELIMITERS = re.compile(r" {0,3}\|? *:?-+:? *(?:\| *:?-+:? *)*\|?$")
CELL = re.compile(r"(?<!\\)\|")
_RAW = re.compile(r" {0,3}<(script|pre|style|textarea)(?:[ >]|$)", re.IGNORECASE)
_COMMENT = re.compile(r" {0,3}<!--")
_TAG = re.compile(r" {0,3}</?([a-z][a-z0-9-]*)(?:[ >]|/>|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Marker:
    """Hold the start of a list item: its sign, its number if any, and where its text begins."""

    sign: str  # -, + or *, and for numbers . or )
    number: int | None
    length: int  # of all that stands before the text
    empty: bool


def marker(line: str) -> Marker | None:
    """Return the list item that a line begins, if any."""
    match = ITEM.match(line)
    if match is None or RULE.match(line):
        return None
    before, sign, digits, delimiter, after = match.groups()
    empty = match.end() == len(line)
    # Five spaces or more are one, and an indented code block behind it.
    space = 1 if empty or len(after) > 4 else len(after)
    if digits is None:
        return Marker(sign, None, len(before) + 1 + space, empty)
    return Marker(delimiter, int(digits), len(before) + len(sign) + space, empty)


def indent(line: str) -> int:
    """Return the number of spaces that a line begins with."""
    return len(line) - len(line.lstrip(" "))


def html_end(line: str) -> re.Pattern[str] | None:
    """Return what ends the HTML block that a line begins, or None if it begins none.

    A block tag's ends at a blank line.
    """
    if raw := _RAW.match(line):
        return re.compile(f"</{raw[1]}>", re.IGNORECASE)
    if _COMMENT.match(line):
        return re.compile("-->")
    tag = _TAG.match(line)
    if tag is None:
        return None
    from markdown_it.common.html_blocks import block_names

    return BLANK if tag[1].lower() in block_names else None


BLANK = re.compile(r"\s*$")


def is_table(head: str, line: str) -> bool:
    """Return True if a line under `head` makes it the head of a table."""
    line = line.rstrip()
    if not DELIMITERS.match(line) or not ("|" in line or ":" in line):
        return False
    return len(columns(line)) == len(columns(head))


def heading_text(text: str) -> str:
    """Return the text of a heading, without the hashes that may close it."""
    text = text.strip()
    shorter = text.rstrip("#")
    return shorter.rstrip() if not shorter or shorter[-1] == " " else text


def columns(line: str) -> list[str]:
    """Return the cells of a table's row."""
    line = line.strip()
    cells = CELL.split(line.removeprefix("|"))
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]


ROOM = 10  # cells that text has at least, however deep it stands


@dataclass(frozen=True, slots=True)
class Quote:
    """Mark a block quote."""


@dataclass(frozen=True, slots=True)
class Item:
    """Hold an item of a list; `shown` once its sign is on the screen."""

    sign: str
    number: int | None
    indent: int
    empty: bool
    shown: bool = False

    def label(self, depth: int, theme: Theme) -> str:
        """Return what stands before its first row."""
        if self.number is None:
            return theme.bullets[depth % len(theme.bullets)] + " "
        return f"{self.number}{self.sign} "


Container = Quote | Item
Stack = tuple[Container, ...]


def match(stack: Stack, line: str) -> tuple[int, str]:
    """Return how many of the open containers a line belongs to, and the line inside of those."""
    for depth, container in enumerate(stack):
        if isinstance(container, Quote):
            if (found := QUOTE.match(line)) is None:
                return depth, line
            line = line[found.end() :]
        elif not line.strip():
            if container.empty:
                return depth, line
        elif indent(line) >= container.indent:
            line = line[container.indent :]
        else:
            return depth, line
    return len(stack), line


def opened(marker: Marker, sibling: Container | None) -> Item:
    """Return the item of a marker, numbered after the item before it."""
    number = marker.number
    if isinstance(sibling, Item) and sibling.sign == marker.sign and sibling.number is not None:
        number = sibling.number + 1
    return Item(marker.sign, number, marker.length, marker.empty)


def filled(stack: Stack) -> Stack:
    """Return the stack once its last item has content."""
    return tuple(replace(c, empty=False) if isinstance(c, Item) and c.empty else c for c in stack)


def all_shown(stack: Stack) -> Stack:
    """Return the stack once its signs are on the screen."""
    return tuple(
        replace(c, shown=True) if isinstance(c, Item) and not c.shown else c for c in stack
    )


def is_hidden(container: Container) -> bool:
    """Return True for an item whose sign is not on the screen yet."""
    return isinstance(container, Item) and not container.shown


def prefix(stack: Stack, theme: Theme, width: int) -> list[Span]:
    """Return what stands before a row: bars, and signs or the space under them.

    The outermost go first where they would leave the text no room.
    """
    spans: list[Span] = []
    items = 0
    for container in stack:
        if isinstance(container, Quote):
            spans.append((theme.bar + " ", theme.style("faint")))
            continue
        label = container.label(items, theme)
        items += container.number is None
        spans.append(
            (" " * cells(label), "") if container.shown else (label, theme.style("marker"))
        )
    while spans and span_cells(spans) + ROOM > width:
        spans.pop(0)
    return spans


def span_cells(spans: Iterable[Span]) -> int:
    """Return the columns that spans take."""
    return sum(cells(text) for text, _style in spans)
