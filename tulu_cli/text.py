"""Amounts as they are written for people."""

from tulu_cli.streams import terminal_safe


def gib(size: float, digits: int = 2) -> str:
    """Bytes as GiB (2^30)."""
    return f"{size / 2**30:,.{digits}f} GiB"


def plural(number: int, noun: str) -> str:
    """`1 turn`, `1,234 turns`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def one_line(text: str) -> str:
    """A text with its white space as single spaces, and nothing that commands a terminal."""
    return terminal_safe(" ".join(text.split()))


def clip(text: str, columns: int) -> str:
    """A line cut to so many columns, with an ellipsis where something is missing."""
    from rich.cells import cell_len, set_cell_size

    # No character is wider than two columns, so what is far behind the end is not looked at.
    head = text[: columns + 1]
    if len(head) == len(text) and cell_len(text) <= columns:
        return text
    return set_cell_size(head, max(0, columns - 1)).rstrip() + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """A line that fills so many columns: cut, or with spaces behind it."""
    from rich.cells import cell_len

    cut = clip(text, columns)
    return cut + " " * (columns - cell_len(cut))
