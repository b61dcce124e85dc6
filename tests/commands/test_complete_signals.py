"""Signals in the middle: the partial answer is kept, and the exit code says what happened."""

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS, environment, eventually, pipe, running, unread

LONG = ("--ignore-eos", "-n", "1024", "word " * 8)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_keeps_the_partial_answer(
    echo: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    with running(*echo, *LONG, stdin=subprocess.DEVNULL) as process:
        first = pipe(process.stdout).read(4096)
        process.send_signal(number)
        found, rest, stderr = ended(process)
    assert (found, stderr) == (code, b"")
    answer = first + rest
    assert answer.endswith(b"\n")
    assert set(answer.replace(b"\n---\n", b" ").split()) == {b"word"}, "each written once, whole"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_json_knows(
    echo: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    with running(*echo, "--json", "--stats", *LONG) as process:
        # With --json nothing is written before the end. That stdin is idle is said before the
        # answer begins, and then it computes.
        assert b"stdin is open but silent" in pipe(process.stderr).readline()
        begun = cpu_seconds(process.pid)
        assert eventually(lambda: cpu_seconds(process.pid) > begun + 1.0)
        process.send_signal(number)
        found, stdout, stderr = ended(process)
    assert found == code
    assert stdout.count(b"\n") == 1
    reasons = [choice["finish_reason"] for choice in json.loads(stdout)["choices"]]
    assert len(reasons) == 1024
    assert reasons[-1] == "interrupted"
    assert b"Traceback" not in stderr
    assert b"stopped by" in stderr


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ctrl_c_twice_is_as_quiet(echo: tuple[str, ...]) -> None:
    with running(*echo, *LONG, stdin=subprocess.DEVNULL) as process:
        pipe(process.stdout).read(4096)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        found, _, stderr = ended(process)
    assert (found, stderr) == (130, b"")


def test_ctrl_c_while_stdin_is_awaited(echo: tuple[str, ...]) -> None:
    with running(*echo) as process:
        pipe(process.stdin).write(b"begun")
        pipe(process.stdin).flush()
        assert eventually(lambda: unread(process.stdin) == 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 130
        assert pipe(process.stdout).read() == pipe(process.stderr).read() == b""


def test_ctrl_c_while_the_model_is_prepared(demo_directory: Path, tmp_path: Path) -> None:
    lock = tmp_path / "converted" / ".locks" / demo_directory.name
    lock.parent.mkdir(parents=True)
    env = environment({"TULU_CACHE_DIR": str(tmp_path)})
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with running("complete", "--engine", "fake", "-m", "demo", "x", env=env) as process:
            assert b"Waiting for another process" in pipe(process.stderr).readline()
            process.send_signal(signal.SIGINT)
            assert ended(process) == (130, b"", b"")
