"""`tulu complete` on a real terminal: Markdown is drawn there, and nowhere else."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.program import DEADLINE_SECONDS, TULU, environment
from tests.render.screen import Screen

ANSWER = """\
# Title

Some **bold** words and `code` that go on for so long that they have to be wrapped at some place.

| a | b |
|---|--:|
| 1 | 汉字 |

```python
print("hello")
```
"""
SHOWN = """\
Title

Some bold words and code that go on for so long that they
have to be wrapped at some place.

a     b
─  ────
1  汉字

```python
print("hello")
```
"""


class Window:
    """A pseudo-terminal with a size, and the screen that what arrives on it makes."""

    def __init__(self, columns: int = 60, lines: int = 10) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines)
        self.screen = Screen(columns, lines)
        self.seen = b""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @contextmanager
    def run(self, *arguments: str, **env: str) -> Iterator["subprocess.Popen[bytes]"]:
        """`tulu` with its answer here and its talk nowhere; it is waited for at the end."""
        process = subprocess.Popen(
            [*TULU, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.slave,
            stderr=subprocess.DEVNULL,
            env=environment({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env}),
            start_new_session=True,
        )
        os.close(self.slave)  # so that the end of the process is the end of what can be read
        self.slave = -1
        try:
            yield process
            self.read_to_the_end()
            process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()

    def read(self) -> bytes:
        try:
            data = os.read(self.master, 65536).replace(b"\r\n", b"\n")
        except OSError:  # Linux says EIO when the last writer has closed the terminal
            data = b""
        self.seen += data
        self.screen.write(data)
        return data

    def read_to_the_end(self) -> None:
        while self.read():
            pass

    def close(self) -> None:
        os.close(self.master)
        if self.slave >= 0:
            os.close(self.slave)


@pytest.fixture
def window() -> Iterator[Callable[..., Window]]:
    opened: list[Window] = []

    def open_one(*size: int) -> Window:
        opened.append(Window(*size))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def said(fake: tuple[str, ...], answer: str) -> tuple[str, ...]:
    """A command whose answer is, after the template's first line, this one."""
    return (*fake, "-s", "none", answer)


def test_an_answer_is_drawn(window: Callable[..., Window], fake: tuple[str, ...]) -> None:
    shown = window()
    with shown.run(*said(fake, ANSWER)) as process:
        pass
    assert process.returncode == 0
    text = "\n".join(shown.screen.rows())
    assert SHOWN in text
    assert len(shown.seen) < 3 * len(ANSWER.encode()) + 512


@pytest.mark.parametrize(
    ("extra", "env"),
    [(["--plain"], {}), ([], {"TERM": "dumb"}), (["--raw"], {})],
    ids=["--plain", "dumb", "--raw"],
)
def test_or_shown_as_it_is(
    window: Callable[..., Window], fake: tuple[str, ...], extra: list[str], env: dict[str, str]
) -> None:
    shown = window()
    command = (*fake, *extra, ANSWER) if extra == ["--raw"] else (*said(fake, ANSWER), *extra)
    with shown.run(*command, **env):
        pass
    assert ANSWER.encode() in shown.seen
    assert b"\x1b" not in shown.seen


def test_a_pipe_gets_the_text_and_no_byte_else(fake: tuple[str, ...]) -> None:
    outputs = [
        subprocess.run(
            [*TULU, *said(fake, ANSWER), *extra],
            env=environment({"FORCE_COLOR": "1"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        ).stdout
        for extra in ([], ["--plain"])
    ]
    assert outputs[0] == outputs[1]
    assert ANSWER.encode() in outputs[0]
    assert b"\x1b" not in outputs[0]


def test_no_colour(window: Callable[..., Window], fake: tuple[str, ...]) -> None:
    shown = window()
    with shown.run(*said(fake, ANSWER), NO_COLOR="1"):
        pass
    cells = [cell for row in shown.screen.styled() for cell in row]
    assert {cell.fg for cell in cells} == {"default"}
    assert any(cell.bold for cell in cells), "what is bold is not a colour"


def test_ctrl_c_leaves_what_has_come(window: Callable[..., Window], fake: tuple[str, ...]) -> None:
    shown = window()
    endless = "Items:\n" + "".join(f"- item **{i}**\n" for i in range(20))
    slow = ("--engine-arg", "delay=0.005")  # it is to last until the signal is there
    options = ("--ignore-eos", "--max-model-len", "4096", *slow)
    with shown.run(*said(fake, endless), *options) as process:
        while len(shown.seen) < 1024:
            assert shown.read()
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert shown.screen.cursor.x == 0
    assert "• item 19" in shown.screen.rows()


def test_a_resize_in_mid_answer(window: Callable[..., Window], fake: tuple[str, ...]) -> None:
    shown = window(40, 10)
    answer = " ".join(f"w{i:03}" for i in range(150))
    with shown.run(*said(fake, answer)):
        while len(shown.seen) < 200:
            assert shown.read()
        shown.screen.resize(10, 70)
        shown.resize(70, 10)
    words = [word for row in shown.screen.rows() for word in row.split() if word[0] == "w"]
    assert words == answer.split()
