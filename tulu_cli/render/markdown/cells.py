"""How many cells of a terminal a text takes."""

from collections.abc import Iterator

TAB = 4  # cells; terminals say 8, and code with 8 does not fit them


def cells(text: str) -> int:
    """The cells that a text takes where terminals agree, and the most it takes where they do not.

    Some draw a joined emoji as one, others its parts side by side; a row that fits the wider
    reading never wraps behind our back.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth, wcwidth

    return max(wcswidth(text), sum(max(0, wcwidth(char)) for char in text))


def certain(text: str) -> bool:
    """Whether all terminals agree on the cells of a text."""
    if text.isascii():
        return True
    from wcwidth import wcswidth, wcwidth

    return bool(wcswidth(text) == sum(wcwidth(char) for char in text))


def clusters(text: str) -> Iterator[str]:
    """The characters as people count them: an emoji with its joiners and modifiers is one."""
    if text.isascii():
        return iter(text)
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def chop(text: str, first: int, width: int) -> list[str]:
    """Pieces of at most `width` cells, the first one of at most `first`; none splits a cluster."""
    if text.isascii():
        return [text[:first], *(text[i : i + width] for i in range(first, len(text), width))]
    pieces, room = [""], first
    for cluster in clusters(text):
        taken = cells(cluster)
        if taken > room:
            pieces.append("")
            room = width
        pieces[-1] += cluster
        room -= taken
    return pieces
