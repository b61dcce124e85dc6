"""Amounts as they are written for people."""


def gib(size: float, digits: int = 2) -> str:
    """Bytes as GiB (2^30)."""
    return f"{size / 2**30:,.{digits}f} GiB"


def plural(number: int, noun: str) -> str:
    """`1 turn`, `1,234 turns`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
