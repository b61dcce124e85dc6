"""The renderer that draws Markdown: its choices, its ends, and what it is told of the terminal."""

import io
import os
import sys
from types import FrameType
from typing import Any

import pytest

from tulu_cli.core import Done, FinishReason, Text
from tulu_cli.render.choose import text as chosen
from tulu_cli.render.collector import Collector, PlainRenderer
from tulu_cli.render.pretty import PrettyRenderer, is_utf8
from tulu_cli.streams import Streams

from .corpora import ANSWERS, CODE, PROSE
from .drawing import Terminal, draw, pieces
from .events import done, text
from .screen import Screen


def shown(*events: Text | Done, n: int = 1, cut: FinishReason = "interrupted") -> list[str]:
    terminal = Terminal(Screen())
    renderer = PrettyRenderer(terminal, Collector(n, 10, 7))
    for event in events:
        renderer.show(event)
    renderer.finish(cut)
    return terminal.screen.rows()


def test_what_has_come_stays_when_it_is_cut_and_the_line_ends() -> None:
    assert shown(text("Some **bo")) == ["Some **bo", ""]
    assert shown(text("- a\n- ")) == ["• a", "•", ""]
    assert shown(text("```py\nx = ")) == ["```py", "x =", ""]
    assert shown(text("| a | b |\n|---|---|\n| 1 |")) == ["a  b", "─  ─", "1", ""]


def test_nothing_leaves_nothing() -> None:
    assert shown() == [""]
    assert shown(text(""), done(), cut="stop") == [""]


def test_other_choices_follow_behind_a_line() -> None:
    events = (text("*two*", index=1), text("# on"), text("e"), done(), done(index=1))
    assert shown(*events, n=3) == ["one", "---", "two", ""]


def test_the_text_is_kept_as_it_came() -> None:
    renderer = PrettyRenderer(Terminal(Screen()), Collector(1, 10, 7))
    renderer.show(text("\x1b[1m**a**\r"))
    renderer.finish("error")
    (completion,) = renderer.completions
    assert completion.text == "\x1b[1m**a**\r"
    assert completion.done.finish_reason == "error"


def test_a_signal_while_a_piece_is_drawn_loses_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(Screen())
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    renderer.show(text("One, "))

    def interrupted(_self: Any) -> os.terminal_size:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "size", interrupted)
        with pytest.raises(KeyboardInterrupt):
            renderer.show(text("two"))
    renderer.finish("interrupted")
    assert terminal.screen.rows() == ["One, two", ""]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_without_colour_there_is_none(answer: str) -> None:
    terminal = Terminal(Screen(), color=False)
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    renderer.show(text(answer))
    renderer.finish("stop")
    cells = [cell for row in terminal.screen.styled() for cell in row]
    assert {cell.fg for cell in cells} | {cell.bg for cell in cells} == {"default"}


def test_signs_are_those_of_the_character_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: "ISO-8859-1")
    rows = draw(["- a\n\n> b\n\n---\n\n|c|\n|-|\n|d|"]).screen.rows()
    assert "".join(rows).isascii()
    assert rows[:3] == ["- a", "", "| b"]
    assert is_utf8("utf-8")
    assert is_utf8("UTF8")


@pytest.mark.parametrize(
    ("tty", "term", "plain", "expected"),
    [
        (True, "xterm", False, PrettyRenderer),
        (True, "xterm", True, PlainRenderer),
        (True, "dumb", False, PlainRenderer),
        (True, None, False, PlainRenderer),
        (False, "xterm", False, PlainRenderer),
    ],
)
def test_which_terminals_get_it(
    monkeypatch: pytest.MonkeyPatch, tty: bool, term: str | None, plain: bool, expected: type
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term:
        monkeypatch.setenv("TERM", term)
    made = chosen(Streams.test(tty=tty), Collector(1, 1, 0), plain=plain)
    assert type(made) is expected


def test_a_pipe_with_forced_colour_gets_every_byte_and_no_other() -> None:
    streams = Streams.test(color=True)
    renderer = chosen(streams, Collector(1, 1, 0), plain=False)
    renderer.show(text(PROSE))
    renderer.finish("stop")
    assert isinstance(streams.stdout, io.BytesIO)
    assert streams.stdout.getvalue() == PROSE.encode()


@pytest.mark.parametrize(
    "answer", [PROSE, CODE, "word " * 50, "[" * 50, "- a\n", "| a | b |\n", "x" * 99], ids=range(7)
)
def test_the_cost_grows_with_the_text_and_no_faster(answer: str) -> None:
    short, long = (calls((answer * size)[:size]) for size in (2_000, 8_000))
    assert long < 5 * short


def calls(answer: str) -> int:
    """The functions that are called while it is drawn: a measure that no other process changes."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    streams = Streams.test(tty=True, color=True)
    renderer = PrettyRenderer(streams, Collector(1, 10, 7))
    sys.setprofile(profile)
    try:
        for part in pieces(answer, 16):
            renderer.show(text(part))
        renderer.finish("stop")
    finally:
        sys.setprofile(None)
    return count
