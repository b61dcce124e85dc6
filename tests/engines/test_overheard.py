"""What a process and its workers say on stderr is passed on as it is, and its end is kept."""

import os
import subprocess
import sys

from tests.program import DEADLINE_SECONDS, environment

KEPT = 65536


def overheard(*lines: str, stderr: int = subprocess.PIPE) -> "subprocess.CompletedProcess[bytes]":
    """Run these lines with `heard` as what is kept; what was kept of it is on stdout."""
    body = "\n".join(f"    {line}" for line in ("pass", *lines))
    script = f"""
import os, subprocess, sys
from tulu_cli.engines.worker import overheard_stderr
with overheard_stderr() as heard:
{body}
sys.stdout.buffer.write(heard)
print(" behind", end="", file=sys.stderr)
"""
    return subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment(),
        check=False,
        timeout=DEADLINE_SECONDS,
    )


def test_what_all_say_is_passed_on_and_kept() -> None:
    done = overheard(
        "print('mine', file=sys.stderr)",
        "subprocess.run(['sh', '-c', 'printf theirs >&2'])",
        "os.write(2, b'\\xff\\0')",
        "if os.fork() == 0: os.write(2, b'!'); os._exit(0)",
        "os.wait()",
        "os.write(2, b'\\0')",
    )
    assert done.stdout == b"mine\ntheirs\xff\0!\0"
    assert done.stderr == done.stdout + b" behind"


def test_nothing_said_is_nothing_kept() -> None:
    done = overheard()
    assert (done.stdout, done.stderr) == (b"", b" behind")


def test_of_much_the_end_is_kept_and_all_is_passed_on() -> None:
    done = overheard("print('a' * 2**20, end='end', file=sys.stderr)")
    assert done.stderr == b"a" * 2**20 + b"end behind"
    assert done.stdout == b"a" * (KEPT - 3) + b"end"


def test_a_process_that_lives_on_holds_nothing_up() -> None:
    done = overheard(
        "command = ['sh', '-c', 'exec >&-; echo here >&2; read line']",
        "lives = subprocess.Popen(command, stdin=subprocess.PIPE)",
        "while not heard: pass",
    )
    assert done.stdout == b"here\n"


def test_where_nobody_reads_all_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = overheard("print('a' * 2**20, end='end', file=sys.stderr)", stderr=writing)
    os.close(writing)
    assert done.stdout == b"a" * (KEPT - 3) + b"end"
