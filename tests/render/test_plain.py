"""Answers as text: nothing but the answer, at once, and a line end."""

import io

import pytest

from tulu_cli.core import Done, FinishReason, Text
from tulu_cli.render.collector import Collector, PlainRenderer
from tulu_cli.streams import Streams

from .events import done, text


def rendered(*events: Text | Done, n: int = 1, cut: FinishReason = "interrupted") -> bytes:
    streams = Streams.test()
    renderer = PlainRenderer(streams, Collector(n, 10, 7))
    for event in events:
        renderer.show(event)
    renderer.finish(cut)
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue() == b""
    return streams.stdout.getvalue()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["Hel", "lo"], b"Hello\n"),
        (["Hello\n"], b"Hello\n"),
        (["Hello", "\n", ""], b"Hello\n"),
        (["a\r\n\n"], b"a\r\n\n"),
        (["  \t"], b"  \t\n"),
        (["\x1b[1m\x00"], b"\x1b[1m\x00\n"),
        ([""], b""),
        ([], b""),
    ],
)
def test_the_answer_and_one_line_end(pieces: list[str], expected: bytes) -> None:
    assert rendered(*(text(piece) for piece in pieces), done()) == expected
    assert rendered(*(text(piece) for piece in pieces)) == expected, "cut"


def test_each_piece_is_written_when_it_comes() -> None:
    streams = Streams.test()
    renderer = PlainRenderer(streams, Collector(1, 10, 7))
    renderer.show(text("Hel"))
    assert isinstance(streams.stdout, io.BytesIO)
    assert streams.stdout.getvalue() == b"Hel"


def test_choices_follow_behind_a_line() -> None:
    events = (
        text("two", index=1),
        text("on"),
        text("three\n", index=2),
        text("e"),
        done(),
        done(index=2),
        done(index=1),
    )
    assert rendered(*events, n=3) == b"one\n---\ntwo\n---\nthree\n"


def test_an_empty_choice_is_still_a_choice() -> None:
    events = (text("one"), done(), text("", 2, index=1), done(index=1), done(0, index=2))
    assert rendered(*events, n=3) == b"one\n---\n---\n"


def test_choices_that_were_never_begun_are_not_shown() -> None:
    assert rendered(text("one"), done(), text("tw", index=1), n=4) == b"one\n---\ntw\n"
    assert rendered(text("one"), n=4, cut="error") == b"one\n"
