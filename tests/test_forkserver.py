"""A start of the program that is forked does what a real one does."""

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.forkserver import Forked, is_faithful
from tests.program import TULU, environment, eventually, pipe, unread

FAKE = ("complete", "--engine", "fake", "-m")


@pytest.mark.parametrize(
    "asked",
    [
        ("--version",),
        ("complete", "--nonsense"),
        ("complete", "-m", b"/nowhere/\xff", "x"),
        (*FAKE, "demo", "grüße"),
        (*FAKE, "demo"),
        (*FAKE, "here", "--json", "--seed", "1", "x"),
        ("config", "show"),
        ("template", "lint", "--model", "demo", "-"),
    ],
)
def test_it_says_the_same(
    asked: tuple[str | bytes, ...], demo_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").symlink_to(demo_directory)
    env = environment({"TULU_TOP_P": "0.5"})
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options = {"env": env, "cwd": tmp_path, **streams}
    said = []
    for process in (Forked(asked, **options), subprocess.Popen([*TULU, *asked], **options)):
        with process:
            output, errors = process.communicate(b"from stdin \xff\n")
        untimed = re.sub(rb'"timings": \{[^}]*\}', b"", output)
        said.append((process.returncode, untimed, errors))
    assert said[0] == said[1]


def test_it_is_a_child_that_signals_reach(demo_directory: Path) -> None:
    process = Forked(
        [*FAKE, str(demo_directory)],
        env=environment(),
        start_new_session=True,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    pipe(process.stdin).write(b"fake: ")
    assert eventually(lambda: not unread(process.stdin))
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate() == (b"", b"")
    assert process.returncode == 130
    process = Forked([*FAKE, str(demo_directory)], env=environment(), stdin=subprocess.PIPE)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def test_what_a_fork_could_not_do_is_a_real_start() -> None:
    usual = {"LANG": "C.UTF-8", "TULU_MODEL": "demo"}

    def told(*arguments: str, env: dict[str, str] = usual, **options: object) -> bool:
        return is_faithful(arguments, {"env": env, **options}, usual)

    assert told("complete", env={"LANG": "C.UTF-8", "HOME": "/nowhere"}, cwd="/")
    assert not told("complete", env={**usual, "LD_PRELOAD": "x"})
    assert not told("complete", env={})
    assert not told("complete", preexec_fn=print)
    assert not told("complete", "x" * 100_000)
