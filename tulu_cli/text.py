"""Words for people: amounts, times, names, and text that is safe and fits on a terminal."""

import re
import time
from collections.abc import Iterator, Sequence

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **{code: f"<{code:02X}>" for code in range(0x80, 0xA0)},
    **{code: f"<U+{code:04X}>" for code in _BIDI},
}
# What takes no column and has no glyph: marks of direction, separators, the byte order mark, soft
# hyphens, blanks of Hangul, and tags, in which a text can hide another one. The joiners U+200C and
# U+200D and the variation selectors stay: Persian, Indic scripts and emoji are written with them.
_INVISIBLE = (
    *(0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x2060, 0x2066),
    *range(0x206A, 0x2070),
    *range(0xFFF9, 0xFFFC),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE0080),
)
_SEEN = _VISIBLE | {code: f"<U+{code:04X}>" for code in _INVISIBLE}
_LONGEST_NAME = 80  # characters
_DAY = 86_400  # seconds
_AGES = (
    ("year", 365 * _DAY),
    ("month", 30 * _DAY),
    ("week", 7 * _DAY),
    ("day", _DAY),
    ("hour", 3600),
    ("minute", 60),
)


def terminal_safe(text: str) -> str:
    """Return the text with every character visible that could command a terminal or hide in it.

    C0 controls but newline and tab, DEL, C1 controls, the bidirectional overrides and characters
    that nobody sees are replaced one by one, so a sequence that is split across chunks is as
    harmless as a whole one: what is left of it is printable text.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_SEEN)


def command_free(text: str) -> str:
    """Return the text for a page, with every character visible that could command a program.

    Unlike on a terminal, what nobody sees stays as it is: a browser hyphenates and joins by it.
    """
    return text.translate(_VISIBLE)


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each byte that was not UTF-8 where it was read."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def one_line(text: str, longest: int | None = None) -> str:
    """Return the text with single spaces for its white space, made safe for a terminal.

    What goes beyond `longest` characters is cut, and " [...]" stands for it.
    """
    line = terminal_safe(" ".join(text.split()))
    return line if longest is None or len(line) <= longest else f"{line[:longest]} [...]"


def cells(text: str) -> int:
    """Return the columns that a text takes on a terminal, the most where terminals disagree.

    Some draw a joined emoji as one, others its parts side by side; a row that fits the wider
    reading never wraps behind our back.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth, wcwidth

    return max(wcswidth(text), sum(max(0, wcwidth(char)) for char in text))


def clusters(text: str) -> Iterator[str]:
    """Yield the characters as people count them: an emoji with its joiners and modifiers is one."""
    if text.isascii():
        return iter(text)
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def chop(text: str, first: int, width: int) -> list[str]:
    """Split a text into pieces of at most `width` columns, the first one of at most `first`.

    No cluster is split; one that is wider than `width` is a piece of its own.
    """
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


def clip(text: str, columns: int) -> str:
    """Return a line of at most `columns` columns, with an ellipsis for what is cut."""
    # No character is wider than two columns, so what is far behind the end is not looked at.
    head = text[: columns + 1]
    if len(head) == len(text) and cells(text) <= columns:
        return text
    return chop(head, columns - 1, columns)[0].rstrip() + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """Return a line of exactly `columns` columns: cut, or with spaces behind it."""
    cut = clip(text, columns)
    return cut + " " * (columns - cells(cut))


def wrap(text: str, columns: int, indent: str = "") -> str:
    """Break each line between words so that it fits `columns`, with `indent` before what follows.

    A word that is longer than a line stays whole.
    """
    return "\n".join(_wrapped(line, columns, indent) for line in text.split("\n"))


def _wrapped(line: str, columns: int, indent: str) -> str:
    if cells(line) <= columns:
        return line
    rows = [""]
    for word in re.split(r"(?<= )(?=[^ ])", line):
        if rows[-1].strip() and cells(f"{rows[-1]}{word}".rstrip()) > columns:
            rows.append(indent)
        rows[-1] += word
    return "\n".join(row.rstrip() for row in rows)


def gib(size: float, digits: int = 2) -> str:
    """Return a number of bytes in GiB (2^30 bytes)."""
    return f"{size / 2**30:,.{digits}f} GiB"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: `1 turn`, `1,234 turns`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a time span: `45 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def ago(seconds: float) -> str:
    """Return how long ago something was, in the largest unit that fits: `3 weeks ago`."""
    unit, length = next((one for one in _AGES if seconds >= one[1]), ("", 1))
    return f"{plural(int(seconds // length), unit)} ago" if unit else "just now"


def to_the_minute(at: float) -> str:
    """Return seconds since the epoch as local time: `2026-01-31 18:05`."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


_LONGEST_TOLD = 80  # characters of a value in a sentence


def told(value: object) -> str:
    """Return a value of a file as Python writes it, for a sentence: cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TOLD else f"{text[: _LONGEST_TOLD - 3]}..."


def shown(name: str) -> str:
    """Return a name for a sentence: as it is, or quoted where it is empty or not printable."""
    return name if name.isprintable() and name else repr(name)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return the first names for a sentence, cut if they are long, and how many more there are."""
    first = (name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join([shown(name) for name in first][:most]) + more
