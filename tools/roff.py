"""Text in the language of manual pages: what roff would take for its own is escaped."""

import re
from collections.abc import Iterator
from textwrap import wrap

_WIDTH = 78
_SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def escaped(text: str) -> str:
    """A text of one line. A hyphen becomes a minus, so that an option can be copied as it is."""
    text = "".join(_SPECIAL.get(sign, sign) for sign in text).replace("-", r"\-")
    return re.sub(r"[^\x00-\x7f]", lambda sign: rf"\[u{ord(sign[0]):04X}]", text)


def filled(text: str) -> Iterator[str]:
    """The lines of a paragraph, each sentence on a line of its own, as roff likes it."""
    for sentence in re.split(r"(?<=[.:;])\s+(?=[A-Z0-9])", " ".join(text.split())):
        for line in wrap(escaped(sentence), _WIDTH, break_long_words=False, break_on_hyphens=False):
            yield rf"\&{line}" if line[0] in ".'" else line


def verbatim(lines: list[str]) -> Iterator[str]:
    """Lines that are shown as they are."""
    yield from (".PP", ".in +4", ".nf")
    for line in lines:
        shown = escaped(line)
        yield rf"\&{shown}" if shown[:1] in (".", "'") else shown
    yield from (".fi", ".in")


def prose(text: str) -> Iterator[str]:
    """Paragraphs, as a docstring divides them; one that begins with a backspace stays as it is."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        first, *rest = paragraph.splitlines()
        if first.strip() == "\b":
            yield from verbatim(rest)
            continue
        if number:
            yield ".PP"
        yield from filled(paragraph)


def entry(term: str, text: str) -> Iterator[str]:
    """A row of a list: what it is about in bold, and what is said of it."""
    yield ".TP"
    yield rf"\fB{escaped(term)}\fR"
    yield from filled(text)


def section(title: str, lines: list[str]) -> Iterator[str]:
    """A section, left out where there is nothing to say."""
    if lines:
        yield f".SH {title}"
        yield from lines[1:] if lines[0] == ".PP" else lines
