"""Nothing that a model writes commands the terminal, in whatever pieces it comes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.render.collector import Collector
from tulu_cli.render.pretty import PrettyRenderer
from tulu_cli.text import terminal_safe

from .corpora import ANSWERS, HOSTILE
from .drawing import OURS, Terminal, draw, pieces
from .events import text
from .screen import Screen

# What the filter takes out, with the line separators that some terminals obey.
_KEPT = set(terminal_safe("".join(map(chr, range(0x110000)))))
COMMANDS = {chr(code) for code in range(0x110000)} - _KEPT
BLOCKS = ["{}", "# {}", "- {}", "> {}", "`{}`", "```\n{}\n```", "**{}**", "[{}](x)", "[x]({})"]
ALPHABET = [*sorted(COMMANDS), *"[]()*_`~|#->&;:0127aJ\n <\\$汉\u200d"]


def harmless(written: bytes) -> None:
    """Without our own sequences there is nothing but text and line ends."""
    left = OURS.sub("", written.decode()).replace("\n", "").replace("\r", "")
    assert not COMMANDS & set(left)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sequence", HOSTILE.values(), ids=HOSTILE)
def test_a_sequence_is_text_in_every_block(sequence: str, block: str) -> None:
    answer = block.format(sequence)
    whole, bytewise = draw([answer]), draw(pieces(answer, 1))
    for drawn in (whole, bytewise):
        harmless(drawn.written)
    assert bytewise.screen.rows() == whole.screen.rows()


@pytest.mark.parametrize("sequence", HOSTILE.values(), ids=HOSTILE)
def test_nor_does_the_byte_of_a_sequence_that_is_cut(sequence: str) -> None:
    for end in range(1, len(sequence) + 1):
        harmless(draw(pieces(sequence[:end], 1)).written)


def test_what_it_would_have_been_is_seen() -> None:
    assert draw(["a\x1b[2Jb \x9b6n \u202e"]).screen.rows() == ["a␛[2Jb <9B>6n <U+202E>", ""]


def test_a_joiner_is_never_the_last_that_is_drawn() -> None:
    """It would join what the next frame draws first to whatever is beside that."""
    terminal = Terminal(Screen())
    renderer = PrettyRenderer(terminal, Collector(1, 10, 7))
    for char in ANSWERS["wide"]:
        renderer.show(text(char))
        assert not terminal.written.endswith("\u200d".encode())


def test_a_carriage_return_hides_nothing() -> None:
    assert draw(["rm -rf\r", "ls"]).screen.rows() == ["rm -rf␍ls", ""]
    assert draw(["one\r", "\ntwo\r\n"]).screen.rows() == ["one", "two", ""]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(ALPHABET), max_size=60), st.integers(1, 9))
def test_no_text_at_all_is_a_command(answer: str, size: int) -> None:
    harmless(draw(pieces(answer, size)).written)


def test_our_own_sequences_ask_clear_and_switch_nothing() -> None:
    for sequence in ("\x1b[2J", "\x1b[J", "\x1b[H", "\x1b[6n", "\x1b[?1049h", "\x1b7", "\x1bc"):
        assert not re.fullmatch(OURS, sequence)
