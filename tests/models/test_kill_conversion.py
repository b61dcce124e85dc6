"""Killing the process that converts, and running two of them at once: real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS

# Says the pid of every child that it starts, then each stage, then the result.
DRIVER = """
import subprocess, sys
from tulu_cli.models import locate, resolve

class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        print("child", self.pid, flush=True)

subprocess.Popen = Popen
say = lambda stage, done, total: print("stage", stage, flush=True)
print("result", locate(resolve(sys.argv[1]), progress=say).directory, flush=True)
"""


class Driver:
    """A process that locates a model, and the lines that it has said so far."""

    def __init__(self, model: Path, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(model)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def read_until(self, start: str) -> str:
        """The next line that starts so; AssertionError where the process ends before."""
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return self.lines[-1]
        raise AssertionError(f"no {start!r} in {self.lines}")

    def children(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("child ")]


@contextmanager
def driver(model: Path, environment: dict[str, str]) -> Iterator[Driver]:
    started = Driver(model, environment)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def is_running(pid: int) -> bool:
    """Whether a process runs: one that is dead and not yet reaped does not."""
    command = ["/usr/bin/env", "ps", "-o", "stat=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, check=False)
    return found.stdout.strip()[:1] not in (b"", b"Z")


def await_end(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its parent"
        time.sleep(0.05)


def finished(cache: Path) -> list[Path]:
    return list((cache / "converted").glob("[!.]*"))


def staging(cache: Path) -> list[Path]:
    return list((cache / "converted" / ".staging").iterdir())


def test_kill_at_any_stage_leaves_nothing_that_looks_finished(
    cache: Path, tiny_gguf: Path, environment: dict[str, str]
) -> None:
    for stage in ("stage Checking", "stage Starting", "stage Saving"):
        with driver(tiny_gguf, environment) as run:
            run.read_until(stage)
            run.process.send_signal(signal.SIGKILL)
            run.process.wait(DEADLINE_SECONDS)
        await_end(run.children()[0])
        assert finished(cache) == []
        assert len(staging(cache)) == 1, "each run must sweep what the one before left"
    with driver(tiny_gguf, environment) as run:
        directory = Path(run.read_until("result ").removeprefix("result "))
    assert (directory / "model.safetensors").stat().st_size > 0
    assert finished(cache) == [directory]
    assert staging(cache) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_child_too(
    cache: Path, tiny_gguf: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    with driver(tiny_gguf, environment) as run:
        run.read_until("stage Starting")
        run.process.send_signal(number)
        run.process.wait(DEADLINE_SECONDS)
    await_end(run.children()[0])
    assert finished(cache) == []
    if number == signal.SIGINT:
        assert staging(cache) == []


def test_two_at_once_convert_once(
    cache: Path, tiny_gguf: Path, environment: dict[str, str]
) -> None:
    with driver(tiny_gguf, environment) as first:
        first.read_until("stage Checking")
        with driver(tiny_gguf, environment) as second:
            assert "Waiting for another process" in second.read_until("stage ")
            results = {run.read_until("result ") for run in (first, second)}
    assert len(first.children()) == 1
    assert second.children() == []
    assert results == {f"result {finished(cache)[0]}"}
    assert staging(cache) == []


def test_the_one_that_waits_takes_over_from_the_dead(
    cache: Path, tiny_gguf: Path, environment: dict[str, str]
) -> None:
    with driver(tiny_gguf, environment) as first:
        first.read_until("stage Checking")
        with driver(tiny_gguf, environment) as second:
            second.read_until("stage Waiting")
            os.kill(first.process.pid, signal.SIGKILL)
            assert second.read_until("result ") == f"result {finished(cache)[0]}"
    assert len(second.children()) == 1
