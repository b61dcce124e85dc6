"""stdin of a real process: piped, closed, empty, idle, slow, broken."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, eventually, pipe, running, shell, tulu, unread

DATA = "a\r\nTülu\t\x00\x1b  ".encode()
SILENT = b"tulu: stdin is open but silent, so it is left out; -f - waits for it.\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["say"], subprocess.DEVNULL, b"say\n"),
        (["say"], b"", b"say\n"),
        ([], DATA, DATA + b"\n"),
        (["-"], DATA, DATA + b"\n"),
        (["Do:"], DATA, b"Do:\n\n" + DATA + b"\n"),
        (["Do:"], b"data\n", b"Do:\n\ndata\n"),
        (["Do:", "-f", "-"], b"data\n", b"Do:\n\nstdin\n```\ndata\n```\n"),
    ],
    ids=["argument", "empty pipe", "pipe", "dash", "both", "both, line end", "as a file"],
)
def test_the_argument_and_the_pipe(
    echo: tuple[str, ...], arguments: list[str], stdin: Any, expected: bytes
) -> None:
    done = tulu(*echo, *arguments, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_without_any_prompt_it_says_so(echo: tuple[str, ...]) -> None:
    done = tulu(*echo)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"tulu: The prompt is empty: give one as an argument, or pipe it in.\n"


@pytest.mark.parametrize(("prompt", "code", "stdout"), [("say", 0, b"say\n"), ("-", 2, b"")])
def test_a_closed_stdin_is_an_empty_one(
    echo: tuple[str, ...], prompt: str, code: int, stdout: bytes
) -> None:
    done = shell('"$@" <&-', *echo, prompt)
    assert (done.returncode, done.stdout) == (code, stdout)
    assert b"Traceback" not in done.stderr


def test_a_file_is_read_whole(echo: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(DATA)
    with file.open("rb") as stdin:
        assert tulu(*echo, stdin=stdin).stdout == DATA + b"\n"


def test_an_idle_stdin_does_not_hang_a_command_with_a_prompt(echo: tuple[str, ...]) -> None:
    with running(*echo, "say") as process:
        # The pipe stays open and empty: that the process ends at all is the point.
        assert process.wait(DEADLINE_SECONDS) == 0
        assert pipe(process.stdout).read() == b"say\n"
        assert pipe(process.stderr).read() == SILENT


def test_a_slow_writer_is_read_to_its_end(echo: tuple[str, ...]) -> None:
    with running(*echo, "Do:") as process:
        pipe(process.stdin).write(b"first ")
        pipe(process.stdin).flush()
        # It has begun to read, and must now wait for the end.
        assert eventually(lambda: unread(process.stdin) == 0)
        assert process.poll() is None
        stdout, stderr = process.communicate(b"second", DEADLINE_SECONDS)
    assert (stdout, stderr) == (b"Do:\n\nfirst second\n", b"")


@pytest.mark.parametrize("arguments", [[], ["Do:"], ["-"]], ids=["pipe", "both", "dash"])
def test_invalid_utf8_is_bad_input_with_the_offset(
    echo: tuple[str, ...], arguments: list[str]
) -> None:
    done = tulu(*echo, *arguments, stdin=b"T\xc3\xbclu \xff!")
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.startswith(b"tulu: stdin is not UTF-8: byte 6 is 0xff.")


def test_an_argument_that_is_not_utf8_is_bad_input(echo: tuple[str, ...]) -> None:
    done = tulu(*echo, b"ab\xff")
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.startswith(b"tulu: The prompt is not UTF-8: byte 2 is 0xff.")


def test_a_line_of_ten_megabytes_is_too_long(echo: tuple[str, ...]) -> None:
    done = tulu(*echo, stdin=b"a" * 10_000_000)
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"tokens and the context length is 8,192" in done.stderr


CHAT = [{"role": "system", "content": "Sing."}, {"role": "user", "content": "What?"}]


def test_a_conversation_on_stdin_and_from_a_file(fake: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(CHAT))
    expected = b"system\nSing.\nuser\nWhat?\nassistant\n"
    piped = tulu(*fake, "--messages", "-", stdin=file.read_bytes())
    # What is piped beside a file of messages is not read: only - reads it then.
    named = tulu(*fake, "--messages", str(file), stdin=b"\xff")
    assert (piped.stdout, piped.returncode) == (named.stdout, named.returncode) == (expected, 0)


@pytest.mark.parametrize(
    ("stdin", "place"),
    [
        (b'[\n  {"role": user}\n]', b"line 2, column 12"),
        (b'[{"role": "user"}]', b"messages[0].content is missing"),
        (b"[]", b"has no message"),
        (b"", b"line 1, column 1"),
    ],
)
def test_a_bad_conversation_says_where(fake: tuple[str, ...], stdin: bytes, place: bytes) -> None:
    done = tulu(*fake, "--messages", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (65, b"")
    assert done.stderr.startswith(b"tulu: stdin")
    assert place in done.stderr


@pytest.mark.parametrize("arguments", [["-", "-f", "-"], ["-", "--messages", "-"]], ids=" ".join)
def test_stdin_is_read_once(fake: tuple[str, ...], arguments: list[str]) -> None:
    done = tulu(*fake, *arguments, stdin=b"[]")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"tulu: stdin can be read only once")
