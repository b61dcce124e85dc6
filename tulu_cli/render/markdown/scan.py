"""Where a growing line of Markdown can be cut: what stands before a cut is settled.

A cut is behind a space or between two ideographs, where nothing is open: no emphasis, no code
span, no link, no formula. What is still open `PATIENCE` characters later was never meant as markup.
"""

import re
import unicodedata
from typing import NamedTuple

PATIENCE = 500  # characters; over this a construct that does not close is text
IDEOGRAPH = "\u2e80-\u30ff\u31f0-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff60"
_TOKEN = re.compile(
    rf"\\.|`+|\*+|_+|~+|\$\$|\]\(?|[\[()\\$]|[ \n]+|[{IDEOGRAPH}]"
    rf"|[^\\`*_~$\[\]() \n{IDEOGRAPH}]+",
    re.DOTALL,
)
_GROWING = "`*_~\\]$"  # the token may be longer, or mean something else, with the next character
# Inside code and formulas a backslash is a backslash, and only what ends them counts.
_INSIDE = {
    "`": re.compile(r"`+|[^`]+"),
    "$$": re.compile(r"\$\$|\$|[^$]+"),
    "\\)": re.compile(r"\\\)|\\|[^\\]+"),
    "\\]": re.compile(r"\\\]|\\|[^\\]+"),
}
_CLOSES = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_PLAIN = re.compile(r"[^\\`*_~\[\]()$\n]* ")
_STICKS = re.compile("[\u200d\ufe00-\ufe0f\u3001\u3002\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f]")


class Open(NamedTuple):
    """What is open at a place: code by its backticks, a formula by what ends it, and so on."""

    code: str = ""
    formula: str = ""
    emphasis: tuple[int, int, int] = (0, 0, 0)  # of * and _ and ~
    brackets: int = 0
    parentheses: int = 0  # of a link's address


_NOTHING = Open()


class Scanned(NamedTuple):
    """How far a text has been read that nothing could be cut from, and what is open there."""

    place: int = 0
    open: Open = _NOTHING


def cuts(text: str, so_far: Scanned, *, ended: bool = False) -> tuple[list[int], Scanned]:
    """Every place where the text can be cut, and how far what is behind the last one was read.

    The text is all that came since the last cut. Where nothing can be cut for PATIENCE characters,
    the cut is at the last space of those. Only what stands between two cuts is parsed as one, so
    that it does not matter when they are found.
    """
    found: list[int] = []
    cut, (place, open_) = 0, so_far
    while place < len(text):
        if open_ == _NOTHING and (words := _PLAIN.match(text, place)):
            # The common case, at the speed of a regular expression: words without any markup.
            cut = place = words.end()
            found.append(cut)
            continue
        match = _INSIDE.get(open_.code[:1] or open_.formula, _TOKEN).match(text, place)
        assert match, "some token matches any character"
        token, end = match.group(), match.end()
        if end == len(text) and not ended and token[0] in _GROWING:
            break
        if open_ == _NOTHING and place > cut and _may_cut(text, place):
            cut = place
            found.append(cut)
        open_ = _after(open_, token, text[place - 1 : place], text[end : end + 1])
        place = end
        if open_ == _NOTHING and token[0] in " \n":
            cut = place
            found.append(cut)
        if place - cut >= PATIENCE:
            open_, cut = _NOTHING, _forced(text, cut)
            place = cut
            found.append(cut)
    return found, Scanned(place - cut, open_)


def closed(text: str, open_: Open) -> str:
    """The text with what closes the emphasis or the code that it leaves open, if that is clear."""
    text = text.rstrip("*_~`")
    if open_.code:
        return text + open_.code
    kinds = [char * count for char, count in zip("*_~", open_.emphasis, strict=True) if count]
    return text.rstrip() + kinds[0] if len(kinds) == 1 and not open_.brackets else text


def _forced(text: str, cut: int) -> int:
    space = max(text.rfind(" ", cut, cut + PATIENCE), text.rfind("\n", cut, cut + PATIENCE))
    return space + 1 if space > cut else cut + PATIENCE


def _may_cut(text: str, place: int) -> bool:
    """Whether an ideograph ends here that nothing holds on to."""
    if not place or not re.match(f"[{IDEOGRAPH}]", text[place - 1]):
        return False
    following = text[place]
    return not (_STICKS.match(following) or unicodedata.combining(following))


def _after(open_: Open, token: str, before: str, after: str) -> Open:
    """What is open behind a token that stands between two characters."""
    first = token[0]
    if open_.code:
        return open_._replace(code="") if token == open_.code else open_
    if open_.formula:
        return open_._replace(formula="") if token == open_.formula else open_
    if first == "`":
        return open_._replace(code=token)
    if token in _CLOSES:
        return open_._replace(formula=_CLOSES[token])
    if first in "*_~":
        return open_._replace(emphasis=_emphasis(open_.emphasis, token, before, after))
    if first in "[]()":
        return _bracket(open_, token)
    return open_


def _bracket(open_: Open, token: str) -> Open:
    if open_.parentheses:
        change = {"(": 1, ")": -1, "](": 1}.get(token, 0)
        return open_._replace(parentheses=open_.parentheses + change)
    if token[0] == "[":
        return open_._replace(brackets=open_.brackets + 1)
    if token[0] == "]" and open_.brackets:
        return open_._replace(brackets=open_.brackets - 1, parentheses=len(token) - 1)
    return open_


def _emphasis(
    counts: tuple[int, int, int], run: str, before: str, after: str
) -> tuple[int, int, int]:
    """The open delimiters behind a run of them, by the flanking rules of CommonMark."""
    which = "*_~".index(run[0])
    left = not _space(after) and (not _punctuation(after) or _space(before) or _punctuation(before))
    right = not _space(before) and (
        not _punctuation(before) or _space(after) or _punctuation(after)
    )
    opens, closes = left, right
    if run[0] == "_":
        opens = left and (not right or _punctuation(before))
        closes = right and (not left or _punctuation(after))
    left_over, now = len(run), list(counts)
    if closes:
        closed = min(left_over, now[which])
        now[which] -= closed
        left_over -= closed
    if opens and not (run == "~" and left_over):
        now[which] += left_over
    return now[0], now[1], now[2]


def _space(char: str) -> bool:
    return not char or char.isspace()


def _punctuation(char: str) -> bool:
    return bool(char) and unicodedata.category(char)[0] in "PS"
