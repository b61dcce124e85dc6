"""Processes that hold an engine, and measure a round whenever they are told to."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .commands import NOTHING, tell


def take_stdout() -> int:
    """A descriptor of stdout, which is stderr from now on: the libraries print as well."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def answer_rates(descriptor: int, tokens: Callable[[], int], forget: Callable[[], Any]) -> None:
    """Say that all is loaded; then, for each line of stdin, how many tokens a second are made."""
    os.write(descriptor, b"loaded\n")
    for _ in sys.stdin:
        started = time.perf_counter()
        rate = tokens() / (time.perf_counter() - started)
        os.write(descriptor, f"{rate}\n".encode())
        forget()


@contextmanager
def rates(
    command: Sequence[str], env: Mapping[str, str] = NOTHING
) -> Iterator[Callable[[], float]]:
    """A function that has a child process measure a round, and returns its tokens a second.

    It computes nothing meanwhile, so that several may live at once and be compared. Raises
    RuntimeError with the end of its stderr where it ends.
    """
    pipe, name = subprocess.PIPE, " ".join(Path(word).name for word in command[3:])
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=pipe,
            stdout=pipe,
            stderr=log,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        asks, answers = process.stdin, process.stdout

        def answer() -> bytes:
            if line := answers.readline():
                return line
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            raise RuntimeError(f"{name} has ended:\n{log.read().decode(errors='replace')}")

        def rate() -> float:
            asks.write(b"\n")
            asks.flush()
            measured = float(answer())
            tell(f"{name}: {measured:.1f} tokens/s")
            return measured

        tell(f"loading {name}")
        answer()
        yield rate
