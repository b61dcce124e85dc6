"""On a real terminal: nothing that a model or a file name says can command it."""

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS, TULU, environment
from tulu_cli.text import clip

HOSTILE = "\x1b]52;c;aGk=\x07 \x1b[6n \x9b31m \x85 \u202e \x08\x08 \x7f"
SHOWN = "␛]52;c;aGk=␇ ␛[6n <9B>31m <85> <U+202E> ␈␈ ␡"


class Terminal:
    """A pseudo-terminal; what arrives on it is kept."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.seen = b""

    def run(self, *arguments: str, term: str = "dumb") -> subprocess.Popen[bytes]:
        """Start `tulu` on the terminal; a dumb one gets no escape sequence of ours."""
        return subprocess.Popen(
            [*TULU, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment({"TERM": term}),
            start_new_session=True,
        )

    def read(self) -> bool:
        """Take what has arrived; False at the end."""
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the last writer has closed the terminal
            return False
        self.seen += data
        return bool(data)

    def text(self, process: subprocess.Popen[bytes]) -> str:
        """All that arrives until the process ends, with the terminal's line ends made ours."""
        os.close(self.slave)
        self.slave = -1
        while self.read():
            pass
        process.wait(DEADLINE_SECONDS)
        return self.seen.decode().replace("\r\n", "\n")

    def close(self) -> None:
        os.close(self._master)
        if self.slave >= 0:
            os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_no_escape_of_the_model_arrives(terminal: Terminal, echo: tuple[str, ...]) -> None:
    process = terminal.run(*echo, HOSTILE)
    assert terminal.text(process) == f"{SHOWN}\n"
    assert process.returncode == 0


def test_nor_in_json(terminal: Terminal, echo: tuple[str, ...]) -> None:
    text = terminal.text(terminal.run(*echo, "--json", HOSTILE))
    assert "\x1b" not in text
    assert "<9B>31m" in text
    assert text.strip().isprintable()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-m", HOSTILE, "x"], 5),
        (["-m", f"./{HOSTILE}", "x"], 5),
        (["-f", HOSTILE, "x"], 65),
        (["--messages", HOSTILE, "x"], 65),
        (["--engine", HOSTILE, "x"], 2),
        (["--schema", HOSTILE, "x"], 65),
        (["--engine-arg", HOSTILE, "x"], 2),
        (["--seed", HOSTILE, "x"], 2),
        ([f"--{HOSTILE}", "x"], 2),
        (["x", HOSTILE], 2),
        (["-m", HOSTILE, "--debug", "x"], 5),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_nor_does_one_of_a_file_name_or_an_argument(
    terminal: Terminal, fake: tuple[str, ...], arguments: list[str], code: int
) -> None:
    process = terminal.run(*fake, *arguments)
    text = terminal.text(process)
    assert process.returncode == code
    assert text.replace("\n", "").isprintable()
    assert "tulu: " in text


def test_what_is_waited_for_stands_on_the_terminal_until_it_is_here(
    terminal: Terminal, echo: tuple[str, ...]
) -> None:
    model = echo[echo.index("-m") + 1]
    text = terminal.text(terminal.run(*echo, "say", term="xterm"))
    status = clip(f"Loading {model} with fake ...", 79)
    assert text == f"\r\x1b[K{status}\r\x1b[Ksay\n"


def test_a_pipe_gets_every_byte(echo: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*TULU, *echo, HOSTILE],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == f"{HOSTILE}\n"


def test_a_terminal_without_a_prompt_is_not_waited_for(
    terminal: Terminal, echo: tuple[str, ...]
) -> None:
    process = terminal.run(*echo)
    assert terminal.text(process) == (
        "tulu: There is no prompt: give one as an argument, or pipe it in.\n"
    )
    assert process.returncode == 2


def test_what_is_typed_is_read_where_it_is_asked_for(
    terminal: Terminal, echo: tuple[str, ...]
) -> None:
    os.write(terminal._master, b"typed\n\x04")
    process = terminal.run(*echo, "-")
    assert terminal.text(process).endswith("typed\n")
    assert process.returncode == 0


def test_ctrl_c_on_a_terminal_ends_the_line(terminal: Terminal, echo: tuple[str, ...]) -> None:
    process = terminal.run(*echo, "--ignore-eos", "-n", "1024", "word " * 8)
    while len(terminal.seen) < 4096:
        assert terminal.read()
    process.send_signal(signal.SIGINT)
    text = terminal.text(process)
    assert process.returncode == 130
    assert text.endswith("\n")
    assert "Traceback" not in text


def test_a_damaged_model_with_a_hostile_name(terminal: Terminal, tmp_path: Path) -> None:
    model = tmp_path / f"{HOSTILE}.gguf"
    model.write_bytes(b"GGUF" + b"\0" * 64)
    process = terminal.run("complete", "--engine", "fake", "-m", str(model), "x")
    text = terminal.text(process)
    assert process.returncode == 65
    assert text.strip().isprintable()
