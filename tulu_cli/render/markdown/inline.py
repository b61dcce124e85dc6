"""From a settled piece of a line of Markdown to styled text, by markdown-it."""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from tulu_cli.render.markdown.rows import Span
from tulu_cli.render.markdown.theme import Theme
from tulu_cli.streams import terminal_safe

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
    """The piece as spans over a style; a line end in one is a line end on the screen.

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
    """The text of a token that holds no other."""
    if token.type in ("softbreak", "hardbreak"):
        return "\n"
    return _BREAK.sub("\r", token.content).translate(_SPACE).replace("\r", "\n")


def _address(target: str, shown: str, theme: Theme, style: str) -> "Iterator[Span]":
    """Where a link goes, unless its text says so already."""
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
    """A rule for markdown-it: nothing inside a formula is markup."""
    match = _FORMULA.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("formula", "", 0).content = match.group()
    state.pos = match.end()
    return True
