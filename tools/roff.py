"""Write text in roff, the language of manual pages, with its special characters escaped."""

import re
from collections.abc import Iterator
from textwrap import wrap

_WIDTH = 78
_SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def escaped(text: str) -> str:
    """Escape a line of text. A hyphen becomes a minus, so that an option can be copied as it is."""
    text = "".join(_SPECIAL.get(sign, sign) for sign in text).replace("-", r"\-")
    return re.sub(r"[^\x00-\x7f]", lambda sign: rf"\[u{ord(sign[0]):04X}]", text)


def filled(text: str) -> Iterator[str]:
    """Yield the lines of a paragraph, each sentence on its own line, as is usual in roff."""
    for sentence in re.split(r"(?<=[.:;])\s+(?=[A-Z0-9])", " ".join(text.split())):
        for line in wrap(escaped(sentence), _WIDTH, break_long_words=False, break_on_hyphens=False):
            yield rf"\&{line}" if line[0] in ".'" else line


def verbatim(lines: list[str]) -> Iterator[str]:
    """Yield lines that are shown as they are."""
    yield from (".PP", ".in +4", ".nf")
    for line in lines:
        shown = escaped(line)
        yield rf"\&{shown}" if shown[:1] in (".", "'") else shown
    yield from (".fi", ".in")


def prose(text: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring; one that begins with a backspace is not filled."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        first, *rest = paragraph.splitlines()
        if first.strip() == "\b":
            yield from verbatim(rest)
            continue
        if number:
            yield ".PP"
        yield from filled(paragraph)


def entry(term: str, text: str) -> Iterator[str]:
    """Yield an entry of a list: a term in bold, and its text."""
    yield ".TP"
    yield rf"\fB{escaped(term)}\fR"
    yield from filled(text)


def section(title: str, lines: list[str]) -> Iterator[str]:
    """Yield a section, or nothing if it has no lines."""
    if lines:
        yield f".SH {title}"
        yield from lines[1:] if lines[0] == ".PP" else lines
