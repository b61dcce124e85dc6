"""Code in colours, a line at a time, by the lexers of Pygments."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from tulu_cli.render.markdown.rows import Span, Theme

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LONGEST = 2000  # characters; a longer line is data, not code to read
# The outermost names win: a docstring is a comment to Pygments' children of String too.
_NAMES = {
    "Token.Keyword.Type": "kind",
    "Token.Keyword": "keyword",
    "Token.Operator.Word": "keyword",
    "Token.Literal.String": "string",
    "Token.Comment": "comment",
    "Token.Literal.Number": "number",
    "Token.Name.Function": "name",
    "Token.Name.Class": "kind",
    "Token.Name.Decorator": "name",
    "Token.Name.Tag": "keyword",
    "Token.Name.Attribute": "name",
    "Token.Name.Builtin": "number",
    "Token.Generic.Inserted": "inserted",
    "Token.Generic.Deleted": "deleted",
    "Token.Generic.Heading": "bold",
    "Token.Generic.Subheading": "name",
    "Token.Generic.Prompt": "marker",
}


@dataclass(frozen=True, slots=True)
class Highlighter:
    """Hold the state of the lexer between two lines of code in one language."""

    language: str
    stack: tuple[str, ...] = ("root",)
    in_comment: bool = False

    def line(self, text: str, theme: Theme) -> "tuple[list[Span], Highlighter]":
        """Return a line as spans, and the Highlighter for the next one."""
        lexer = _lexer(self.language)
        if lexer is None or len(text) > LONGEST or not theme.style("keyword"):
            return [(text, "")], self
        opening = "/*" if self.in_comment else ""
        tokens, stack, open_ = _lex(lexer, opening + text, self.stack)
        spans = [(piece, theme.style(_name(str(kind)))) for kind, piece in tokens]
        return _skip(spans, len(opening)), replace(self, stack=stack, in_comment=open_)


def _lex(
    lexer: "Lexer", text: str, stack: tuple[str, ...]
) -> tuple[list[tuple[Any, str]], tuple[str, ...], bool]:
    """Return the tokens of a line, the lexer's stack after it, and True if a comment stays open.

    Most lexers know a comment over many lines only as a whole, so here one is closed at the end
    of each line, and opened at the start of the next.
    """
    if text.rfind("/*") > text.rfind("*/", 2) - 1 and "/*" in text:
        tokens, after = _tokens(lexer, text + "*/\n", stack)
        while tokens and not tokens[-1][1]:
            tokens.pop()
        kind, piece = tokens[-1]
        if _is_long_comment(str(kind)) and piece.endswith("*/"):
            return [*tokens[:-1], (kind, piece[:-2])], after, True
    return *_tokens(lexer, text + "\n", stack), False


def _is_long_comment(kind: str) -> bool:
    """Return True for a comment that a line end does not end."""
    return "Comment" in kind and "Single" not in kind


def _tokens(
    lexer: Any, text: str, stack: tuple[str, ...]
) -> tuple[list[tuple[Any, str]], tuple[str, ...]]:
    """Return the tokens of a text and the stack after it, as far as the lexer can tell."""
    from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer

    if isinstance(lexer, RegexLexer) and _is_plain(type(lexer)):
        context = LexerContext(text, 0, list(stack))
        try:
            found = ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context)
            tokens = [(kind, piece.rstrip("\n")) for _place, kind, piece in found]
            return tokens, tuple(context.stack)
        except Exception:  # noqa: BLE001 - of some rule with a signature of its own
            context.stack = ["root"]
    found = lexer.get_tokens_unprocessed(text)
    return [(kind, piece.rstrip("\n")) for _place, kind, piece in found], ("root",)


def _is_plain(lexer: type) -> bool:
    """Return True if a lexer is its rules alone, but for names that it looks up afterwards."""
    from pygments.lexer import RegexLexer
    from pygments.lexers.c_cpp import CFamilyLexer

    method = lexer.get_tokens_unprocessed  # type: ignore[attr-defined]
    return method in (RegexLexer.get_tokens_unprocessed, CFamilyLexer.get_tokens_unprocessed)


@cache
def _lexer(language: str) -> "Lexer | None":
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language) if language else None
    except ClassNotFound:
        return None


@cache
def _name(kind: str) -> str:
    """Return the theme's name for a token type, or for its nearest ancestor that has one."""
    while kind and kind not in _NAMES:
        kind = kind.rpartition(".")[0]
    return _NAMES.get(kind, "")


def _skip(spans: list[Span], count: int) -> list[Span]:
    """Return the spans without their first characters."""
    kept = []
    for text, style in spans:
        if len(text) > count:
            kept.append((text[count:], style))
        count = max(0, count - len(text))
    return kept
