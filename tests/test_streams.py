"""The three streams: what reaches a terminal, what reaches a pipe, and what is said."""

import fcntl
import io
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.streams import Streams, speaks_utf8, wants_color
from tulu_cli.text import cells, terminal_safe

C0 = [chr(code) for code in range(0x20) if chr(code) not in "\n\t"]
C1 = [chr(code) for code in range(0x80, 0xA0)]
BIDI = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
UNSEEN = [
    *"\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u2060\u2064\u206a\u3164\ufeff\ufff9",
    *(chr(0xE0000 + code) for code in (0, 1, 0x20, 0x41, 0x7F)),
]
COMMANDS = [*C0, "\x7f", *C1, *BIDI, *UNSEEN]
SEQUENCES = {
    "clipboard": "\x1b]52;c;aGk=\x07",
    "cursor report": "\x1b[6n",
    "8-bit CSI": "\x9b31m",
    "title": "\x1b]0;pwned\x1b\\",
    "device control": "\x1bP$q\x1b\\",
    "application": "\x1b_Gpayload\x1b\\",
    "private message": "\x9e\x9c",
}


class Broken(io.BytesIO):
    """A stream whose other end is in trouble."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _data: Any) -> int:
        raise self.error

    def read(self, _size: int | None = -1) -> bytes:
        raise self.error


def written(streams: Streams) -> bytes:
    assert isinstance(streams.stdout, io.BytesIO)
    return streams.stdout.getvalue()


def said(streams: Streams) -> bytes:
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stderr.getvalue()


@pytest.mark.parametrize("char", COMMANDS, ids=lambda char: f"{ord(char):04x}")
def test_each_command_or_hidden_character_is_shown_on_a_terminal_and_passed_to_a_pipe(
    char: str,
) -> None:
    terminal, pipe = Streams.test(tty=True), Streams.test()
    for streams in (terminal, pipe):
        streams.write(f"a{char}b")
    shown = written(terminal).decode()
    assert char not in shown
    assert shown.startswith("a")
    assert shown.endswith("b")
    assert len(shown) > 2, "nothing disappears"
    assert shown.isprintable()
    assert written(pipe).decode() == f"a{char}b"


def test_each_has_a_look_of_its_own() -> None:
    assert len({terminal_safe(char) for char in COMMANDS}) == len(COMMANDS)


TEXTS = {
    "white space": "a\tb\nc\xa0d",
    "wide": "Tülu 🐪 汉字",
    "combining": "e\u0301 שׁ",
    "joined emoji": "👩\u200d🔬 ❤\ufe0f",
    "Persian": "می\u200cخواهم",
    "Devanagari": "क्\u200dष",
    "variant of a character": "葛\U000e0100",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_everything_else_is_left_alone(text: str) -> None:
    assert terminal_safe(text) == text


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_is_as_harmless_in_pieces_as_whole(sequence: str) -> None:
    whole, pieces = Streams.test(tty=True), Streams.test(tty=True)
    whole.write(sequence)
    for char in sequence:
        pieces.write(char)
    assert written(whole) == written(pieces)
    assert not set(written(whole).decode()) & set(COMMANDS)


def test_talk_is_made_safe_in_a_pipe_too() -> None:
    streams = Streams.test()
    streams.say("\x1b[2J and \x9b2J")
    assert said(streams).decode() == "␛[2J and <9B>2J\n"


def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    streams = Streams.test()
    streams.write("a\udcffb")
    assert written(streams) == b"a?b"


def test_styled_text_is_ours_and_passes() -> None:
    streams = Streams.test(tty=True)
    streams.write_styled("\x1b[1mbold\x1b[0m")
    assert written(streams) == b"\x1b[1mbold\x1b[0m"


def test_a_stdout_that_takes_no_more_is_one_sentence() -> None:
    streams = Streams.test()
    streams.stdout = Broken(OSError(28, "No space left on device"))
    with pytest.raises(TuluError, match=r"^stdout cannot be written: No space left on device\.$"):
        streams.write("x")


def test_a_reader_that_has_gone_is_told_apart() -> None:
    streams = Streams.test()
    streams.stdout = Broken(BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        streams.write("x")


def test_a_stderr_that_takes_no_more_costs_only_the_talk() -> None:
    streams = Streams.test()
    streams.stderr = Broken(BrokenPipeError())
    streams.say("unheard")


def set_columns(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


@pytest.fixture
def talking() -> Iterator[tuple[Streams, int]]:
    """Streams whose stderr alone is a terminal, and the other side of that."""
    there, here = pty.openpty()
    with open(here, "wb", buffering=0) as stderr:
        streams = Streams(io.BytesIO(), io.BytesIO(), stderr, stderr_tty=True, width=80)
        yield streams, there
    os.close(there)


def has_come(there: int, text: str) -> bool:
    """Whether this is what a terminal has been given, maybe in several writes."""
    wanted, came = text.encode(), b""
    while wanted.startswith(came) and len(came) < len(wanted):
        if not select.select([there], [], [], DEADLINE_SECONDS)[0]:
            break
        came += os.read(there, len(wanted) - len(came))
    return came == wanted


@pytest.mark.parametrize("text", ["Row " * 60, "\u6c49\u5b57" * 60, "a\nb\tc\x1b[2J" * 20])
def test_a_status_line_is_one_row_of_the_terminal_as_it_is_now(
    talking: tuple[Streams, int], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    streams, there = talking
    for columns in (100, 40, 7, 120):
        set_columns(there, columns)
        streams.show_status(text)
        shown = os.read(there, 10_000).decode()
        assert shown.startswith("\r\x1b[K")
        row = shown.removeprefix("\r\x1b[K")
        assert columns - 3 <= cells(row) < columns
        assert row.isprintable()
    streams.say("beside it")  # in a row of its own, above the status
    assert has_come(there, f"\r\x1b[Kbeside it\r\n{row}")
    streams.show_status("")
    streams.say("after it")
    assert has_come(there, "\r\x1b[Kafter it\r\n")


def test_a_terminal_that_tells_no_width_is_as_wide_as_was_thought(
    talking: tuple[Streams, int],
) -> None:
    streams, there = talking
    set_columns(there, 0)
    assert streams.talk_width == 80
    assert Streams.test().talk_width == 80


def test_a_stdin_that_cannot_be_read_is_bad_input() -> None:
    streams = Streams.test()
    streams.stdin = Broken(OSError(5, "Input/output error"))
    with pytest.raises(BadInput, match="stdin cannot be read: Input/output error"):
        streams.read()


def test_stdin_is_ready_when_it_has_data_or_has_ended() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as stdin:
        streams = Streams(stdin, io.BytesIO(), io.BytesIO())
        assert not streams.stdin_ready(0)
        os.write(writing, b"x")
        assert streams.stdin_ready(0)
        assert stdin.read(1) == b"x"
        assert not streams.stdin_ready(0)
        os.close(writing)
        assert streams.stdin_ready(0)


def test_a_buffer_is_always_ready() -> None:
    assert Streams.test(b"").stdin_ready(0)


@pytest.mark.parametrize(
    ("choice", "tty", "environ", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", False, {"FORCE_COLOR": "1"}, True),
        ("auto", True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ("always", False, {"NO_COLOR": "1", "TERM": "dumb"}, True),
        ("never", True, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_who_decides_about_colour(
    choice: str, tty: bool, environ: dict[str, str], expected: bool
) -> None:
    assert wants_color(choice, tty, environ) is expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "de_DE.utf8@euro"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_US"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "C", "LC_ALL": "en_US.UTF-8"}, True),
        ({"LC_ALL": "POSIX"}, False),
    ],
)
def test_which_terminals_speak_utf8(environ: dict[str, str], *, expected: bool) -> None:
    assert speaks_utf8(environ) is expected
