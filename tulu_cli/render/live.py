"""The last rows of the screen, which may still change; all above them is scrollback."""

from collections.abc import Sequence
from itertools import takewhile

from tulu_cli.render.markdown.rows import Row, encode, is_certain, plain
from tulu_cli.text import cells

_JOINERS = "\u200d\ufe0e\ufe0f"


def redraw(old: Sequence[Row], new: Sequence[Row]) -> str:
    """Return what turns the rows `old` into `new`, from the old end of the last row to its new end.

    Only what differs is written, as a rule new text after the old. Both have at least one row. The
    cursor never leaves the rows, and nothing but them is erased.
    """
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    if equal == len(old):
        return "".join(f"\n{encode(line)}" for line in new[equal:])
    first = min(equal, len(new) - 1)
    parts = [_from(old[first], new[first], up=len(old) - 1 - first)]
    for place in range(first + 1, len(new)):
        erase = "\x1b[K" if place < len(old) and old[place] else ""
        parts.append(f"\n{erase}{encode(new[place])}")
    if (left := len(old) - len(new)) > 0:
        parts += ["\n\x1b[K" * left, f"\x1b[{left}A", _back_to(new[-1])]
    return "".join(parts)


def _from(old: Row, new: Row, up: int) -> str:
    """Return what turns one row into another, from `up` rows below it at any column."""
    kept, rest = common(old, new)
    if not up and kept == old:
        return encode(rest, cells(plain(kept)), is_certain(kept))
    moves = "\r" + (f"\x1b[{up}A" if up else "")
    if not is_certain(kept) or _goes_on(old, kept) or _goes_on(new, kept):
        kept, rest = (), new
    column = cells(plain(kept))
    erase = "\x1b[K" if old != kept else ""
    return f"{moves}{_right(column)}{erase}{encode(rest, column)}"


def _goes_on(line: Row, kept: Row) -> bool:
    """Return True if a mark on the last character of `kept` follows it in the row."""
    following = plain(line)[len(plain(kept)) :][:1]
    return following != "" and not cells(following)


def _back_to(line: Row) -> str:
    """Return what moves to the end of a row that is drawn, from anywhere in it."""
    if not is_certain(line):
        return "\r\x1b[K" + encode(line)
    return "\r" + _right(cells(plain(line)))


def _right(count: int) -> str:
    """Return what moves right by `count` columns; a terminal takes 0 for 1."""
    return f"\x1b[{count}C" if count else ""


def common(old: Row, new: Row) -> tuple[Row, Row]:
    """Return the part that two rows begin with, and what follows it in the new one."""
    place = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    if place == len(old) or place == len(new):
        return new[:place], new[place:]
    (before, style), (after, other) = old[place], new[place]
    if style != other:
        return new[:place], new[place:]
    count = _common(before, after)
    kept = (*new[:place], (after[:count], style)) if count else new[:place]
    rest = ((after[count:], style),) if count < len(after) else ()
    return kept, (*rest, *new[place + 1 :])


def _common(before: str, after: str) -> int:
    """Return how many characters two texts share at the start, without splitting a cluster."""
    pairs = zip(before, after, strict=False)
    count = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if count == len(before) or (before.isascii() and after.isascii()):
        return count
    # The next character may belong to the one before it: go back to a space.
    return max(0, after.rfind(" ", 0, count))
