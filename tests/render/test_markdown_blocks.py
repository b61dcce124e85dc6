"""Blocks are those of CommonMark: read line by line here, and all at once by markdown-it."""

import re
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tulu_cli.render.markdown.document import Document
from tulu_cli.render.markdown.rows import plain, theme

from . import reference

STARTS = ["", "", "", "- ", "* ", "+ ", "1. ", "2. ", "10) ", "> ", ">", "  ", "   ", "  - ", "# "]
STARTS += ["### ", "> - ", "- > ", "-   ", "-  "]
BODIES = ["word", "two words", "", "", "---", "***", "===", "```", "~~~", "```py", "````", "- - -"]
BODIES += ["-", "1.", "#", "# t", "<div>", "</div>", "a", "<!-- c", "-->", "3. x", "   x"]
lines = st.tuples(st.sampled_from(STARTS), st.sampled_from(STARTS), st.sampled_from(BODIES))
texts = st.lists(lines.map("".join), min_size=1, max_size=8).map("\n".join)


def shown(text: str, width: int = 10_000) -> list[str]:
    document = Document(theme(color=False, utf8=True), width)
    return [plain(row) for row in (*document.feed(text), *document.finish())]


def essence(rows: list[str]) -> list[str]:
    """Rows without what the two show in different ways: fences, rules and blank rows."""
    fence = re.compile(r"[│ ]*(`{3,}|~{3,})")
    kept = (re.sub(" +", " ", re.sub("─+", "─", row)) for row in rows if not fence.fullmatch(row))
    return [row.rstrip(" │") for row in kept if row.strip(" │")]


def is_read_otherwise(text: str) -> bool:
    """Whether a line with four spaces could be code, a rule or a title under a quote or a list.

    markdown-it has ways of its own for those; CommonMark 0.31, examples 237 and 312, has them
    continue the paragraph.
    """
    marked = re.search(r"^ {0,3}([-+*>]|\d+[.)])", text, re.MULTILINE)
    return bool(marked and re.search(r"^ {4,}[^a-z\s]", text, re.MULTILINE))


def has_long_title(text: str) -> bool:
    """Whether a heading is underlined and has more than one line: here only the last can be one."""
    tokens = MarkdownIt("commonmark").parse(text)
    return any(
        token.type == "heading_open" and "\n" in inner.content for token, inner in pairwise(tokens)
    )


@settings(max_examples=300, deadline=None)
@given(texts)
@example("word\n    ```\n    - ```")  # code, and no fence
def test_blocks_are_those_of_markdown_it(text: str) -> None:
    assume(not has_long_title(text) and not is_read_otherwise(text))
    assert essence(shown(text)) == essence(reference.rows(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n\n\nb", ["a", "", "b"]),
        ("\n\na\n\n", ["a"]),
        ("a\nb", ["a", "b"]),
        ("a  \nb\\\nc", ["a", "b", "c"]),
        ("# a #\nb", ["a", "b"]),
        ("## C# and F#", ["C# and F#"]),
        ("Title\n=====\ntext", ["Title", "text"]),
        ("- a\n\n- b\n- c", ["• a", "", "• b", "• c"]),
        ("- a\n  - b\n    - c\n      - d", ["• a", "  ◦ b", "    ▪ c", "      • d"]),
        ("7. a\n7. b\n1) c", ["7. a", "8. b", "1) c"]),
        ("9. a\n10. b", ["9. a", "10. b"]),
        ("> a\n>\n> b\n\n> c", ["│ a", "│", "│ b", "", "│ c"]),
        ("> a\nlazy", ["│ a", "│ lazy"]),
        ("> > word\n    ---", ["│ │ word", "│ │ ---"]),
        ("- - a", ["• ◦ a"]),
        ("-\n\n  a", ["•", "", "a"]),
        ("text\n2. not a list", ["text", "2. not a list"]),
        ("```py\n\nx\n```", ["```py", "", "x", "```"]),
        ("- ```\n  a\n\n  b\n  ```", ["• ```", "  a", "", "  b", "  ```"]),
        ("a\n\n    code\n\n    more", ["a", "", "    code", "", "    more"]),
        ("`not a fence```\n", ["`not a fence```"]),
        ("[1]: http://x\n\n[a][1]", ["[1]: http://x", "", "[a][1]"]),
        ("#hashtag\n#", ["#hashtag"]),
        ("***\n---", ["─" * 9, "─" * 9]),
        ("a|b\n-|-\n1|2", ["a  b", "─  ─", "1  2"]),
        ("above\na|b\n-|-\n1|2\n\nbelow", ["above", "a  b", "─  ─", "1  2", "", "below"]),
        ("a|b\nc|d", ["a|b", "c|d"]),
        ("|a|\n|-|-|", ["|a|", "|-|-|"]),
    ],
)
def test_a_text_and_its_rows(text: str, expected: list[str]) -> None:
    assert shown(text, 9 if "***\n" in text else 80) == expected


def test_a_deep_nest_leaves_room_for_text() -> None:
    rows = shown("> " * 30 + "some words that go on", 20)
    assert " ".join(row.strip("│ ") for row in rows) == "some words that go on"
    assert max(map(len, rows)) <= 20


@pytest.mark.parametrize("text", ["# |" + " " * 3900 + "x", "-" + " " * 3900 + "x", "a " * 5000])
def test_no_line_takes_long(text: str) -> None:
    """Patterns that try every split of a run of spaces would take minutes here."""
    assert "".join("".join(shown(text, 10_000)).split()) in ("|x", "•x", "a" * 5000)
