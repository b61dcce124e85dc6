"""What blocks stand in: quotes and list items."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tulu_cli.render.markdown import starts
from tulu_cli.render.markdown.cells import cells
from tulu_cli.render.markdown.rows import Span
from tulu_cli.render.markdown.theme import Theme

ROOM = 10  # cells that text has at least, however deep it stands


@dataclass(frozen=True, slots=True)
class Quote:
    """A block quote."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list; `shown` once its sign is on the screen."""

    sign: str
    number: int | None
    indent: int
    empty: bool
    shown: bool = False

    def label(self, depth: int, theme: Theme) -> str:
        """What stands before its first row."""
        if self.number is None:
            return theme.bullets[depth % len(theme.bullets)] + " "
        return f"{self.number}{self.sign} "


Container = Quote | Item
Stack = tuple[Container, ...]


def match(stack: Stack, line: str) -> tuple[int, str]:
    """How many of the open containers a line belongs to, and the line inside of those."""
    for depth, container in enumerate(stack):
        if isinstance(container, Quote):
            if (found := starts.QUOTE.match(line)) is None:
                return depth, line
            line = line[found.end() :]
        elif not line.strip():
            if container.empty:
                return depth, line
        elif starts.indent(line) >= container.indent:
            line = line[container.indent :]
        else:
            return depth, line
    return len(stack), line


def opened(marker: starts.Marker, sibling: Container | None) -> Item:
    """The item of a marker; it counts on from the item before, as the numbers of a list do."""
    number = marker.number
    if isinstance(sibling, Item) and sibling.sign == marker.sign and sibling.number is not None:
        number = sibling.number + 1
    return Item(marker.sign, number, marker.length, marker.empty)


def filled(stack: Stack) -> Stack:
    """The stack once something stands in its last item."""
    return tuple(replace(c, empty=False) if isinstance(c, Item) and c.empty else c for c in stack)


def all_shown(stack: Stack) -> Stack:
    """The stack once its signs are on the screen."""
    return tuple(
        replace(c, shown=True) if isinstance(c, Item) and not c.shown else c for c in stack
    )


def is_hidden(container: Container) -> bool:
    """Whether it is an item whose sign is not on the screen."""
    return isinstance(container, Item) and not container.shown


def prefix(stack: Stack, theme: Theme, width: int) -> list[Span]:
    """What stands before a row: bars, and signs or the space under them.

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
    """The cells of spans."""
    return sum(cells(text) for text, _style in spans)
