"""From a settled piece of a line of Markdown to styled text, by markdown-it.

Where a growing line of Markdown can be cut: what stands before a cut is settled.

A cut is behind a space or between two ideographs, where nothing is open: no emphasis, no code
span, no link, no formula. What is still open `PATIENCE` characters later was never meant as markup.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tulu_cli.render.markdown.rows import TAB, Row, Span, Theme, row
from tulu_cli.text import cells, chop, terminal_safe

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token


_MARKUP = re.compile(r"[\\`*_~\[\]<&!$\n]")
_FORMULA = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_STYLES = {"em_open": "emphasis", "strong_open": "strong", "s_open": "strike", "link_open": "link"}
_SPACE = {ord("\n"): " ", ord("\t"): " "}


@lru_cache(1024)  # the tail is laid out again and again
def spans(text: str, theme: Theme, style: str = "") -> tuple[Span, ...]:
    """Return the piece as spans over a style; a line end in one is a line end on the screen.

    Formulas and HTML stand as they are, but for `<br>`. The address of a link follows its text.
    A character reference may name a control character, so the result is made safe once more.
    """
    if not _MARKUP.search(text):
        return ((text, style),)
    children = _parser().parseInline(text)[0].children or []
    pieces = _walk(children, theme, style)
    return tuple((terminal_safe(piece), look) for piece, look in pieces if piece)


def _walk(tokens: "list[Token]", theme: Theme, style: str) -> "Iterator[Span]":
    styles, links = [style], [("", "")]
    for token in tokens:
        if token.type in _STYLES:
            styles.append(_over(styles[-1], theme.style(_STYLES[token.type])))
            if token.type == "link_open":
                links.append((str(token.attrs.get("href", "")), ""))
        elif token.type.endswith("_close"):
            styles.pop()
            if token.type == "link_close":
                yield from _address(*links.pop(), theme, styles[-1])
        elif token.type == "image":
            yield token.content, _over(styles[-1], theme.style("link"))
            source = str(token.attrs.get("src", ""))
            yield from _address(source, token.content, theme, styles[-1])
        else:
            piece = _leaf(token)
            links[-1] = (links[-1][0], links[-1][1] + piece)
            yield piece, _over(styles[-1], theme.style(_LEAF_STYLES.get(token.type, "")))


_LEAF_STYLES = {"code_inline": "code", "formula": "math"}


def _leaf(token: "Token") -> str:
    """Return the text of a token that holds no other."""
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    return _BREAK.sub("\r", token.content).translate(_SPACE).replace("\r", "\n")


def _address(target: str, shown: str, theme: Theme, style: str) -> "Iterator[Span]":
    """Return the address of a link, unless its text is the address."""
    readable = _parser().normalizeLinkText(target)
    if not readable.isprintable():
        readable = target
    if target and shown not in (target, readable) and f"mailto:{shown}" != target:
        yield f" ({readable})", _over(style, theme.style("address"))


def _over(below: str, style: str) -> str:
    return ";".join(filter(None, (below, style)))


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("strikethrough").disable("html_inline")
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


def _formula(state: "StateInline", silent: bool) -> bool:
    """Apply a rule for markdown-it: nothing inside a formula is markup."""
    match = _FORMULA.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("formula", "", 0).content = match.group()
    state.pos = match.end()
    return True


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
    """Hold what is open at a place: code by its backticks, a formula by its end, and so on."""

    code: str = ""
    formula: str = ""
    emphasis: tuple[int, int, int] = (0, 0, 0)  # of * and _ and ~
    brackets: int = 0
    parentheses: int = 0  # of a link's address


_NOTHING = Open()


class Scanned(NamedTuple):
    """Hold how far a text without a place to cut has been read, and what is open there."""

    place: int = 0
    open: Open = _NOTHING


def cuts(text: str, so_far: Scanned, *, ended: bool = False) -> tuple[list[int], Scanned]:
    """Return every place where the text can be cut, and how far the rest was read.

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
    """Return the text with the open emphasis or code closed, if it is clear how."""
    text = text.rstrip("*_~`")
    if open_.code:
        return text + open_.code
    kinds = [char * count for char, count in zip("*_~", open_.emphasis, strict=True) if count]
    return text.rstrip() + kinds[0] if len(kinds) == 1 and not open_.brackets else text


def _forced(text: str, cut: int) -> int:
    space = max(text.rfind(" ", cut, cut + PATIENCE), text.rfind("\n", cut, cut + PATIENCE))
    return space + 1 if space > cut else cut + PATIENCE


def _may_cut(text: str, place: int) -> bool:
    """Return True after an ideograph that does not belong to what follows."""
    if not place or not re.match(f"[{IDEOGRAPH}]", text[place - 1]):
        return False
    following = text[place]
    return not (_STICKS.match(following) or unicodedata.combining(following))


def _after(open_: Open, token: str, before: str, after: str) -> Open:
    """Return what is open after a token that stands between two characters."""
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
    """Return the open delimiters after a run of them, by CommonMark's flanking rules."""
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


# A word, or an ideograph with the marks that must not begin a row behind it.
_CJK = IDEOGRAPH
_STICKY = (
    "\u3001\u3002\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\u300d\u300f\u3011\u300b\u2019\u201d"
)
_WORDS = re.compile(rf"\n| +|[{_CJK}][\u0300-\u036f\u3099\u309a{_STICKY}]*|[^ \n{_CJK}]+")
_CJK_START = re.compile(f"[{_CJK}]")


class Flow:
    """Lay out a paragraph's text; all rows but the last come out as it is fed.

    All that it holds is immutable, so that a shallow copy is a Flow of its own.
    """

    def __init__(self, theme: Theme, width: int, style: str = "") -> None:
        self.width = width
        self._theme = theme
        self._style = style
        self._waiting = ""  # the markup that is not settled
        self._scanned = Scanned()
        self._row: tuple[Span, ...] = ()
        self._cells = 0
        self._word: tuple[Span, ...] = ()  # what may still grow, where a piece ends within a word

    def feed(self, text: str) -> list[Row]:
        """Return the rows that are full."""
        self._waiting += text.replace("\t", " " * TAB)
        return self._settle(ended=False)

    def end(self) -> list[Row]:
        """End the line; its last row stays open."""
        return []

    def finish(self) -> list[Row]:
        """Return the rows that are left, the last one too."""
        full = self._settle(ended=True)
        full += self._place(self._waiting)
        full += self._put_word()
        self._waiting = ""
        return [*full, *([row(self._row)] if self._row else [])]

    def resize(self, width: int) -> list[Row]:
        """Lay the open row out for another width; rows that are full already stay as they are."""
        begun, self.width = self._row, width
        self._row, self._cells, word, self._word = (), 0, self._word, ()
        full = [made for text, style in begun for made in self._words(text, style)]
        full += self._put_word()
        self._word = word
        return full

    def close_markup(self) -> None:
        """Add what closes the markup that is open, as if it had come already."""
        place, open_ = self._scanned
        self._waiting = closed(self._waiting, open_)
        self._scanned = Scanned(min(place, len(self._waiting)), open_)

    def _settle(self, *, ended: bool) -> list[Row]:
        full: list[Row] = []
        start = 0
        ends, self._scanned = cuts(self._waiting, self._scanned, ended=ended)
        for end in ends:
            full += self._place(self._waiting[start:end])
            start = end
        self._waiting = self._waiting[start:]
        return full

    def _place(self, text: str) -> list[Row]:
        full: list[Row] = []
        for piece, style in spans(text, self._theme, self._style) if text else ():
            full += self._words(piece, style)
        return full

    def _words(self, text: str, style: str) -> Iterator[Row]:
        for word in _WORDS.findall(text):
            yield from self._add(word, style)

    def _add(self, word: str, style: str) -> Iterator[Row]:
        if word == "\n":
            yield from self._put_word()
            yield row(self._row)
            self._row, self._cells = (), 0
        elif word[0] == " ":
            yield from self._put_word()
            # A row does not begin with space; at its end space is dropped.
            if self._row:
                self._row, self._cells = (*self._row, (word, style)), self._cells + len(word)
        elif _CJK_START.match(word):
            yield from self._put_word()
            self._word = ((word, style),)
            yield from self._put_word()
        else:
            self._word = (*self._word, (word, style))
            if len(self._word) * len(word) > PATIENCE:
                yield from self._put_word()  # endless data, not a word

    def _put_word(self) -> Iterator[Row]:
        """Put the word on the row, on the next one, or on as many as it takes."""
        word, self._word = self._word, ()
        taken = sum(cells(text) for text, _style in word)
        if self._cells + taken > self.width and self._row:
            yield row(self._row)
            self._row, self._cells = (), 0
        for text, style in word:
            first, *others = chop(text, self.width - self._cells, self.width)
            self._row, self._cells = (*self._row, (first, style)), self._cells + cells(first)
            for other in others:
                yield row(self._row)
                self._row, self._cells = ((other, style),), cells(other)
