"""However an answer comes, it leaves what it would have left at once, for few bytes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.render.collector import Collector
from tulu_cli.render.markdown.document import Document
from tulu_cli.render.markdown.rows import plain, theme
from tulu_cli.render.pretty import PrettyRenderer

from .corpora import ANSWERS, HOSTILE
from .drawing import OURS, Terminal, draw, pieces
from .events import text
from .screen import Screen

SIZES = [(80, 24), (20, 10)]
LINES = [line for answer in (*ANSWERS.values(), *HOSTILE.values()) for line in answer.split("\n")]
answers = st.lists(st.sampled_from(LINES) | st.text(max_size=12), max_size=12).map("\n".join)


def same(drawn: Terminal, expected: Terminal) -> None:
    assert drawn.screen.rows() == expected.screen.rows()
    assert drawn.screen.styled() == expected.screen.styled()
    assert not any(drawn.screen.below())


# Each terminal size with one way of drawing joined emoji.
@pytest.mark.parametrize(("size", "joins"), [(SIZES[0], True), (SIZES[1], False)], ids=str)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_scrollback_is_that_of_one_piece(
    answer: str, size: tuple[int, int], joins: bool
) -> None:
    drawn = draw(pieces(answer, 1 if len(answer) < 2000 else 5), *size, joins=joins)
    same(drawn, draw([answer], *size, joins=joins))
    written = drawn.written.decode()
    ups = [int(count) for count in re.findall(r"\x1b\[(\d+)A", written)]
    assert max(ups, default=0) < 6, "the live rows are few"
    assert "\x1b" not in OURS.sub("", written)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_each_row_stands_there_once(answer: str) -> None:
    document = Document(theme(color=True, utf8=True), 7)
    text = answer.replace("\r\n", "\n").replace("\r", "␍")
    rows = [plain(row).rstrip() for row in (*document.feed(text), *document.finish())]
    shown = draw(pieces(answer, 3 if len(answer) < 2000 else 9), 7, 24).screen.rows()
    # How wide a gap is depends on how the terminal draws what is before it.
    assert [row.split() for row in shown] == [row.split() for row in (*rows, "")]


@settings(max_examples=100, deadline=None)
@given(answers, st.lists(st.integers(1, 30), min_size=1), st.sampled_from([*SIZES, (7, 4)]))
def test_it_does_not_matter_how_an_answer_is_cut(
    answer: str, sizes: list[int], size: tuple[int, int]
) -> None:
    parts: list[str] = []
    start = 0
    while start < len(answer):
        parts.append(answer[start : start + sizes[len(parts) % len(sizes)]])
        start += len(parts[-1])
    same(draw(parts, *size), draw([answer], *size))


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_no_more_is_written_than_three_times_the_text(answer: str) -> None:
    long = f"{answer}\n\n" * (1 + 4000 // (len(answer) + 2))
    assert len(draw(pieces(long, 4), 20, 10).written) <= 3 * len(long.encode())


@pytest.mark.parametrize(
    "answer",
    [
        "---\n\n",
        "1,2,3\n",
        "**a** ",
        "`a`\n",
        "- a\n- b\n",
        "> a\n\n",
        "| a | b |\n|-|-|\n|1|2|\n\n",
    ],
)
def test_not_even_of_what_is_mostly_markup(answer: str) -> None:
    long = answer * 300
    assert len(draw(pieces(long, 4), 80, 24).written) <= 3 * len(long.encode())


def test_nor_of_code_in_which_each_word_has_a_colour() -> None:
    code = f"```python\n{'[1,2,3]' * 9}\n" + "x=1;y='a'\n" * 1000
    assert len(draw(pieces(code, 4), 80, 24).written) <= 3 * len(code.encode())


def test_what_is_read_is_drawn_as_it_comes() -> None:
    answer = "Some words of a paragraph, "
    terminal = draw([])
    assert terminal.written == b""
    for end in range(1, len(answer), 3):
        shown = draw_so_far(answer[:end])
        assert shown == [answer[:end].rstrip()]


def draw_so_far(answer: str) -> list[str]:
    terminal = Terminal(Screen())
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    for char in answer:
        renderer.show(text(char))
    return terminal.screen.rows()
