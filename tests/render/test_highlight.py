"""Code is coloured a line at a time, as it would be as a whole."""

import pytest

from tulu_cli.render.markdown.highlight import Highlighter
from tulu_cli.render.markdown.rows import Span, theme

COLOR, MONO = theme(color=True, utf8=True), theme(color=False, utf8=True)
STRING, COMMENT, KEYWORD = COLOR.style("string"), COLOR.style("comment"), COLOR.style("keyword")


def highlighted(language: str, code: str) -> list[list[Span]]:
    lines, highlighter = [], Highlighter(language)
    for line in code.split("\n"):
        spans, highlighter = highlighter.line(line, COLOR)
        lines.append(spans)
    return lines


def style_of(lines: list[list[Span]], word: str) -> str:
    return next(style for line in lines for text, style in line if word in text)


LANGUAGES = ["python", "c", "javascript", "json", "bash", "html", "diff", "rust", "sql", "nonsense"]
CODE = "def f(a):\n  return {'x': [1, 2]} # /* x\n\n<b>*/ \"text\"</b>\n+ added\n\tlast();"


@pytest.mark.parametrize("language", ["", *LANGUAGES])
def test_no_character_is_lost(language: str) -> None:
    lines = highlighted(language, CODE)
    assert ["".join(text for text, _style in line) for line in lines] == CODE.split("\n")


def test_a_docstring_is_a_string_up_to_its_end() -> None:
    lines = highlighted("python", '"""one\ntwo = 2\nthree"""\nfour = "4"')
    assert style_of(lines, "two") == style_of(lines, "three") == STRING
    assert style_of(lines, "four") == ""


@pytest.mark.parametrize("language", ["c", "javascript", "css", "rust", "java"])
def test_so_is_a_comment(language: str) -> None:
    lines = highlighted(language, "a /* one\ntwo\nthree */ four")
    assert style_of(lines, "two") == style_of(lines, "three") == COMMENT
    assert style_of(lines, "four") != COMMENT


def test_what_only_looks_like_a_comment_opens_none() -> None:
    lines = highlighted("python", "a = '/*'\nreturn b # /*\nreturn c")
    assert style_of(lines, "return") == KEYWORD
    assert lines[2][0] == ("return", KEYWORD)
    lines = highlighted("c", 'x = "/*";\nreturn y; // /* no\nreturn z;')
    assert lines[2][0] == ("return", KEYWORD)


def test_without_colour_code_is_left_alone() -> None:
    assert Highlighter("python").line("return 1", MONO)[0] == [("return 1", "")]


def test_an_endless_line_is_data() -> None:
    line = "x=1;" * 1000
    assert Highlighter("python").line(line, COLOR)[0] == [(line, "")]
