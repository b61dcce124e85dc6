"""Thoughts beside answers: hidden, on stderr, alone, or in a window that is folded."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.drawing import OURS, Terminal, pieces
from tests.render.events import done
from tests.render.screen import Screen
from tulu_cli.core import Done, Request, Sampling, Text
from tulu_cli.render import Renderer, choose
from tulu_cli.render.collector import Collector
from tulu_cli.render.folded import WINDOW, FoldedThought
from tulu_cli.render.pretty import PrettyRenderer
from tulu_cli.render.thoughts import Reasoning
from tulu_cli.streams import Streams


def thought(text: str, *, tokens: int = 1, index: int = 0) -> Text:
    return Text(text, (1,) * tokens, index, channel="thought")


def said(text: str, index: int = 0) -> Text:
    return Text(text, (1,), index)


def play(renderer: Renderer, *events: Text | Done) -> Renderer:
    for event in events:
        renderer.show(event)
    renderer.finish("interrupted")
    return renderer


TALK = (thought("Two and "), Text(""), thought("two.\n"), said(""), said("It is 4."), done())
REQUEST = Request((1,), Sampling())


@pytest.mark.parametrize(
    ("reasoning", "tty", "stdout", "stderr"),
    [
        (None, False, "It is 4.\n", ""),
        ("hide", False, "It is 4.\n", ""),
        ("show", False, "It is 4.\n", "Two and two.\n"),
        ("only", False, "Two and two.\n", ""),
        # Behind the thought is a blank line where both are on one terminal.
        (None, True, "It is 4.\n", "Two and two.\n\n"),
        ("show", True, "It is 4.\n", "Two and two.\n\n"),
        ("hide", True, "It is 4.\n", ""),
        ("only", True, "Two and two.\n", ""),
    ],
)
def test_each_goes_where_it_belongs(
    reasoning: Reasoning | None, tty: bool, stdout: str, stderr: str
) -> None:
    streams = Streams.test(tty=tty)
    play(choose.chat(streams, REQUEST, plain=True, reasoning=reasoning), *TALK)
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    assert (streams.stdout.getvalue().decode(), streams.stderr.getvalue().decode()) == (
        stdout,
        stderr,
    )


def test_a_thought_on_stderr_is_dim_and_cannot_command_a_terminal() -> None:
    streams = Streams.test(tty=True, color=True)
    play(choose.chat(streams, REQUEST, plain=True), thought("a\x1b[1m"), said("b"), done())
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue().decode() == "\x1b[2ma␛[1m\x1b[m\n\n"


def test_each_answer_of_several_has_its_thought_before_it() -> None:
    streams = Streams.test()
    renderer = choose.text(streams, Collector(3, 10, 7), plain=True, reasoning="show")
    events = [thought(f"T{at}", index=at) for at in range(2)]
    play(renderer, *events, said("A1", 1), said("A0"), done(index=1), done())
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stdout.getvalue() == b"A0\n---\nA1\n"
    assert streams.stderr.getvalue() == b"T0\nT1\n"
    only = Streams.test()
    renderer = choose.text(only, Collector(2, 10, 7), plain=True, reasoning="only")
    play(renderer, *events, said("A1", 1), said("A0"), done(index=1), done())
    assert isinstance(only.stdout, io.BytesIO)
    assert only.stdout.getvalue() == b"T0\n---\nT1\n"


def test_what_is_cut_in_its_thought_counts_its_tokens() -> None:
    (cut,) = play(
        choose.chat(Streams.test(), REQUEST, plain=True), thought("a", tokens=3)
    ).completions
    assert (cut.text, cut.reasoning, cut.is_thought_alone) == ("", "a", True)
    assert cut.done.usage is not None
    assert (cut.done.usage.completion_tokens, cut.done.usage.reasoning_tokens) == (3, 3)


def drawn(*events: Text | Done, n: int = 1, columns: int = 30, lines: int = 12) -> Terminal:
    terminal = Terminal(Screen(columns, lines))
    renderer = PrettyRenderer(terminal, Collector(n, 10, 7), FoldedThought(terminal))
    play(renderer, *events)
    return terminal


LONG = "\n\n".join(f"Step {number}: think of it again, and once more." for number in range(9))


def test_a_window_shows_the_end_of_the_thought() -> None:
    terminal = Terminal(Screen(30, 12))
    view = FoldedThought(terminal)
    for piece in pieces(LONG, 7):
        view.add(piece, 1)
        assert len([row for row in terminal.screen.rows() if row]) <= WINDOW
    assert [row for row in terminal.screen.rows() if row] == [
        "Step 7: think of it again,",
        "and once more.",
        "Step 8: think of it again,",
        "and once more.",
    ]
    assert b"\x1b[2m" in terminal.written


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("columns", [8, 30, 80])
def test_one_row_stands_for_the_thought_when_the_answer_begins(size: int, columns: int) -> None:
    thoughts: list[Text | Done] = [thought(piece) for piece in pieces(LONG, size)]
    answer: list[Text | Done] = [said("It "), said("is 4."), done()]
    terminal = drawn(*thoughts, *answer, columns=columns)
    rows = [row for row in terminal.screen.rows() if row]
    assert "".join(rows[-1:]) == "It is 4." if columns > 8 else "4." in rows[-1]
    folded = f"Thought: {len(thoughts)} token{'s' * (len(thoughts) > 1)}."
    assert " ".join(rows).replace(" ", "").startswith(folded.replace(" ", ""))
    assert "Step" not in " ".join(rows)
    # Nothing is taken back that has left the window, and only our own sequences are written.
    assert b"\x1b" not in OURS.sub("", terminal.written.decode()).encode()


def test_a_thought_without_an_answer_leaves_its_end() -> None:
    rows = [row for row in drawn(thought("So.\nThen")).screen.rows() if row]
    assert rows == ["So.", "Then"]


def test_a_server_that_counts_nothing_gets_its_characters_counted() -> None:
    terminal = drawn(thought("So it is.", tokens=0), said("4"), done())
    assert [row for row in terminal.screen.rows() if row] == ["Thought: 9 characters.", "4"]


def test_an_empty_thought_shows_nothing() -> None:
    assert [row for row in drawn(thought(""), said("4"), done()).screen.rows() if row] == ["4"]


def test_a_resize_leaves_no_old_rows_behind() -> None:
    terminal = Terminal(Screen(30, 12))
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7), FoldedThought(terminal))
    renderer.show(thought("One row that is not long"))
    terminal.resize(60, 12)
    renderer.show(thought(" and goes on."))
    play(renderer, said("4"), done())
    assert [row for row in terminal.screen.rows() if row] == ["Thought: 2 tokens.", "4"]


@given(st.text(st.sampled_from("ab \n\t你é\u0301👩‍🚀\x1b"), max_size=60), st.integers(1, 9))
def test_any_thought_stays_in_its_window(text: str, size: int) -> None:
    terminal = drawn(*(thought(piece) for piece in pieces(text, size)), columns=9, lines=9)
    rows = [row for row in terminal.screen.rows() if row]
    assert len(rows) <= WINDOW
    assert b"\x1b" not in OURS.sub("", terminal.written.decode()).encode()
