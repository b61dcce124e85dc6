"""How the lines of Markdown's blocks begin, as CommonMark and GitHub's tables have it."""

import re
from dataclasses import dataclass

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
    """The start of a list item: its sign, its number if it has one, and where its text begins."""

    sign: str  # -, + or *, and for numbers . or )
    number: int | None
    length: int  # of all that stands before the text
    empty: bool


def marker(line: str) -> Marker | None:
    """The list item that a line begins."""
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
    """The spaces that a line begins with."""
    return len(line) - len(line.lstrip(" "))


def html_end(line: str) -> re.Pattern[str] | None:
    """What ends the HTML block that a line begins, None where it begins none.

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
    """Whether a line under `head` makes it the head of a table."""
    line = line.rstrip()
    if not DELIMITERS.match(line) or not ("|" in line or ":" in line):
        return False
    return len(columns(line)) == len(columns(head))


def heading_text(text: str) -> str:
    """The text of a heading, without the hashes that may close it."""
    text = text.strip()
    shorter = text.rstrip("#")
    return shorter.rstrip() if not shorter or shorter[-1] == " " else text


def columns(line: str) -> list[str]:
    """The cells of a table's row."""
    line = line.strip()
    cells = CELL.split(line.removeprefix("|"))
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().replace("\\|", "|") for cell in cells]
