"""A terminal that changes its size in the middle of an answer."""

import re

import pytest

from tulu_cli.render.collector import Collector
from tulu_cli.render.pretty import PrettyRenderer

from .drawing import Terminal, pieces
from .events import text
from .screen import Screen

WORDS = [f"w{i:03}" for i in range(200)]
ANSWERS = {
    "paragraph": " ".join(WORDS),
    "paragraphs": "\n\n".join(" ".join(WORDS[i : i + 30]) for i in range(0, 200, 30)),
    "list": "\n".join(f"- {' '.join(WORDS[i : i + 7])}" for i in range(0, 200, 7)),
    "code": "```\n" + "\n".join(" ".join(WORDS[i : i + 5]) for i in range(0, 200, 5)),
    "bold": " ".join(f"**{' '.join(WORDS[i : i + 50])}**" for i in range(0, 200, 50)),
    "quote": "> " + " ".join(WORDS),
    "table": "|a|b|\n|-|-|\n"
    + "\n".join(f"|{a}|{b}|" for a, b in zip(WORDS[::2], WORDS[1::2], strict=True)),
}


def resized(answer: str, change: int, old: tuple[int, int], new: tuple[int, int]) -> Terminal:
    """The terminal after an answer during which, after `change` pieces, its size was changed."""
    terminal = Terminal(Screen(*old))
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    for count, part in enumerate(pieces(answer, 3)):
        if count == change:
            terminal.resize(*new)
        renderer.show(text(part))
    renderer.finish("stop")
    return terminal


def seen(terminal: Terminal) -> list[str]:
    """The words on the screen, from the first row to the last."""
    width = terminal.size().columns
    # A row that the terminal has broken goes on in the next one, also within a word.
    rows = (row if len(row) == width else f"{row} " for row in terminal.screen.rows())
    return re.findall(r"w\d{3}", "".join(rows))


def later(answer: str, change: int) -> list[str]:
    """The words that come after the change."""
    return [word for word in WORDS if answer.index(word) > 3 * change]


@pytest.mark.parametrize("change", [1, 50, 51, 52, 53, 150, 250])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_wider_terminal_shows_each_word_once(answer: str, change: int) -> None:
    assert seen(resized(answer, change, (30, 10), (70, 30))) == WORDS


@pytest.mark.parametrize("change", [1, 50, 51, 52, 53, 150, 250])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_narrower_one_shows_none_twice(answer: str, change: int) -> None:
    """What the terminal itself cuts off from rows that it shows already is not ours to save."""
    terminal = resized(answer, change, (70, 24), (30, 12))
    words = seen(terminal)
    assert words == sorted(set(words))
    assert " ".join(words).endswith(" ".join(later(answer, change)))


@pytest.mark.parametrize("change", [1, 50, 53, 150, 250])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_one_that_breaks_its_rows_anew_loses_no_word(answer: str, change: int) -> None:
    terminal = Terminal(Screen(70, 24))
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    for count, part in enumerate(pieces(answer, 3)):
        if count == change:
            terminal.reflow(30)
        renderer.show(text(part))
    renderer.finish("stop")
    words = seen(terminal)
    assert sorted(set(words)) == WORDS
    assert len(words) < len(WORDS) + 60, "at most the few live rows stand there twice"


def test_the_height_may_change_too() -> None:
    for lines in (3, 1):
        assert seen(resized(ANSWERS["paragraph"], 60, (40, 24), (40, lines)))[-60:] == WORDS[-60:]
