"""Where stdin or stdout is no terminal: a turn a line, plain text out, a script's exit code."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS, environment, pipe, running, tulu

from .stored import last, path

Piped = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def piped(demo_directory: Path, data: Path) -> Piped:
    """Runs a chat with this on stdin."""

    def run(stdin: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        given = ("chat", "-m", str(demo_directory), "--engine", "fake", *arguments)
        return tulu(*given, stdin=stdin, env={"TULU_DATA_DIR": str(data)})

    return run


def first(process: subprocess.Popen[bytes], length: int) -> bytes:
    """The first bytes of stdout; a pipe may give them one by one."""
    seen = b""
    while len(seen) < length and (more := pipe(process.stdout).read(length - len(seen))):
        seen += more
    return seen


def test_a_line_is_a_turn_and_stdout_has_the_answers_alone(piped: Piped, data: Path) -> None:
    done = piped(b"fake: say one\n\nfake: say two\n/exit\nfake: say never\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\ntwo\n", b"")
    assert len(path(data)) == 4


def test_the_last_line_needs_no_end_and_crlf_is_one(piped: Piped, data: Path) -> None:
    done = piped(b"fake: say one\r\nfake: say two")
    assert done.stdout == b"one\ntwo\n"
    assert path(data)[0] == ("user", "fake: say one")


def test_a_block_is_one_turn(piped: Piped, data: Path) -> None:
    piped(b'"""first\n\n\ttab\nlast"""\n')
    assert path(data)[0] == ("user", "first\n\n\ttab\nlast")


def test_an_open_block_ends_with_the_input(piped: Piped, data: Path) -> None:
    piped(b'"""first\nlast')
    assert path(data)[0] == ("user", "first\nlast")


def test_nothing_is_nothing(piped: Piped, data: Path) -> None:
    done = piped(b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_model_text_goes_into_a_pipe_as_it_is(piped: Piped) -> None:
    done = piped("fake: say \x1b[2J \u202e\n".encode())
    assert done.stdout == "\x1b[2J \u202e\n".encode()


def test_a_bad_line_is_named(piped: Piped, data: Path) -> None:
    done = piped(b"fake: say one\n\xff\n")
    assert (done.returncode, done.stdout) == (65, b"one\n")
    assert b"Line 2 of stdin is not UTF-8: byte 0 is 0xff" in done.stderr


def test_what_goes_wrong_is_said_and_is_the_exit_code(piped: Piped) -> None:
    done = piped(b"/set nope 1\nfake: fail 0\nfake: say three\n")
    assert done.returncode == 2, "that of the first error"
    assert done.stdout == b"three\n"
    assert done.stderr.count(b"\n") == 2


@pytest.mark.parametrize("text", ["/tmp is full, what now?", "/exit is what it said", "/tmp"])
def test_a_text_that_begins_like_a_command_is_a_turn(piped: Piped, data: Path, text: str) -> None:
    done = piped(f"{text}\n/q\nfake: say never\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert [one for one in path(data) if one[0] == "user"] == [("user", text)]


def test_a_command_that_asks_is_not_run(piped: Piped, tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = piped(f"/shell touch {made}\ny\n".encode())
    assert b"nobody to ask" in done.stderr
    assert not made.exists()


def test_ctrl_c_ends_a_script_with_the_partial(demo_directory: Path, data: Path) -> None:
    given = ("chat", "-m", str(demo_directory), "--engine", "fake", "--engine-arg", "delay=0.01")
    env = environment({"TULU_DATA_DIR": str(data)})
    with running(*given, env=env) as process:
        pipe(process.stdin).write(b"fake: words 900\n")
        assert first(process, 5) == b"w1 w2"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 130
        assert b"Traceback" not in pipe(process.stderr).read()
    assert last(data).finish_reason == "interrupted"


def test_ctrl_c_while_a_line_is_awaited(demo_directory: Path, data: Path) -> None:
    given = ("chat", "-m", str(demo_directory), "--engine", "fake")
    with running(*given, env=environment({"TULU_DATA_DIR": str(data)})) as process:
        pipe(process.stdin).write(b"fake: say one\n")
        assert first(process, 4) == b"one\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 130


def test_a_reader_that_leaves_is_quiet(demo_directory: Path, data: Path) -> None:
    given = ("chat", "-m", str(demo_directory), "--engine", "fake", "--engine-arg", "delay=0.01")
    with running(*given, env=environment({"TULU_DATA_DIR": str(data)})) as process:
        pipe(process.stdin).write(b"fake: words 900\n")
        assert first(process, 5) == b"w1 w2"
        pipe(process.stdout).close()
        assert process.wait(DEADLINE_SECONDS) == 141
        assert pipe(process.stderr).read() == b""
    assert last(data).content.startswith("w1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--continue"], "There is no session to continue yet."),
        (["--resume", "abc"], "There is no session 'abc'"),
        (["--resume", "a", "--continue"], "cannot be combined"),
        (["--incognito", "--continue"], "--no-history keeps no session"),
        (["--greedy", "--temperature", "1"], "cannot be combined"),
        (["--overflow", "never"], "Invalid value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_comes_before_the_model(
    piped: Piped, arguments: list[str], sentence: str
) -> None:
    done = piped(b"", *arguments)
    assert done.returncode == 2
    assert sentence.encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
