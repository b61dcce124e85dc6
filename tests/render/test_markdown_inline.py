"""Inline markup is that of markdown-it, although a line is parsed in the pieces it settles in."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tulu_cli.render.markdown import inline
from tulu_cli.render.markdown.inline import Flow, spans
from tulu_cli.render.markdown.rows import Span, plain, row, theme

THEME = theme(color=True, utf8=True)
MARKUP = ["**", "*", "_", "__", "`", "``", "~~", "[", "](u)", "]", "(", ")", "\\", "<b>", "&lt;"]
TOKENS = [
    *MARKUP,
    " ",
    " ",
    " ",
    "a",
    "word",
    "two words",
    ".",
    "1",
    "$$",
    "\\(",
    "\\)",
    "汉",
    "字",
]
texts = st.lists(st.sampled_from(TOKENS), max_size=24).map("".join).map(str.strip)


def in_pieces(text: str) -> list[Span]:
    made: list[Span] = []
    start = 0
    found, _scanned = inline.cuts(text, inline.Scanned(), ended=True)
    for end in (*found, len(text)):
        made += spans(text[start:end], THEME)
        start = end
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b c** d", [("a ", ""), ("b c", "1"), (" d", "")]),
        ("***a***", [("a", "3;1")]),
        ("2 * 3 * 4 snake_case_name", [("2 * 3 * 4 snake_case_name", "")]),
        ("`a **b**`", [("a **b**", "36")]),
        ("~~a~~", [("a", "9")]),
        (
            "[a *b*](http://x) c",
            [("a ", "4;34"), ("b", "4;34;3"), (" (http://x)", "2"), (" c", "")],
        ),
        ("<http://x>", [("http://x", "4;34")]),
        ("[http://x](http://x)", [("http://x", "4;34")]),
        ("![alt](pic.png)", [("alt", "4;34"), (" (pic.png)", "2")]),
        ("\\*a\\* &amp; <b>c</b>", [("*a* & <b>c</b>", "")]),
        ("\\(a_1*b*c\\)", [("\\(a_1*b*c\\)", "36")]),
        ("a<br>b", [("a\nb", "")]),
        ("**never closed", [("**never closed", "")]),
    ],
)
def test_markup_and_its_spans(text: str, expected: list[Span]) -> None:
    assert list(row(in_pieces(text))) == expected


# A link that holds what may open or close emphasis or code around it.
CROSSED = re.compile(r"\[[^\]]*[*_~`][^\]]*\]\(")


@settings(max_examples=500, deadline=None)
@given(texts)
@example("`\\`` `")
@example("$$\\$$**$$two words**")
def test_pieces_say_what_the_whole_line_says(text: str) -> None:
    """But for emphasis beside ideographs, which CommonMark does not see, and crossed markup."""
    if not {"汉", "字"} & set(text) and text.isprintable() and not CROSSED.search(text):
        assert letters(in_pieces(text)) == letters(list(spans(text, THEME)))


def letters(made: list[Span]) -> list[tuple[str, frozenset[str]]]:
    """Each character that is no space, with how it looks."""
    looks = [(char, frozenset(style.split(";"))) for text, style in made for char in text]
    return [look for look in looks if not look[0].isspace()]


def test_a_construct_that_never_closes_holds_nothing_up_for_long() -> None:
    flow = Flow(THEME, 80)
    rows = flow.feed("a [" + "word " * 400)
    assert sum(len(plain(line)) for line in rows) > 2000 - inline.PATIENCE - 160


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **bold", "a **bold**"),
        ("a **bold*", "a **bold**"),
        ("a `co de", "a `co de`"),
        ("plain", "plain"),
        ("[a **b", "[a **b"),
    ],
)
def test_the_tail_shows_open_markup_as_it_will_be(text: str, expected: str) -> None:
    _cuts, scanned = inline.cuts(text, inline.Scanned())
    assert inline.closed(text, scanned.open) == expected


def test_ideographs_break_anywhere_but_before_their_punctuation() -> None:
    flow = Flow(THEME, 10)
    rows = [*flow.feed("汉字汉字汉，汉字汉字汉字"), *flow.finish()]
    assert [plain(line) for line in rows] == ["汉字汉字", "汉，汉字汉", "字汉字"]
