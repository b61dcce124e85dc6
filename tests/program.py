"""The program as its users run it: a process with streams, signals and an exit code."""

import fcntl
import os
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from struct import unpack
from time import monotonic, sleep
from typing import IO, Any

from tests.forkserver import Forked, is_faithful

TULU = (sys.executable, "-m", "tulu_cli")
# After it something hangs. It is no measure of speed: other programs may have the machine.
DEADLINE_SECONDS = 300
# A runtime directory that does not exist: the user's own warm engines answer no test.
NO_ENGINES = "/nowhere/tulu"
NOTHING: Mapping[str, str] = {}
# Python does not notice a write of byte code that a full disk cuts short, and trusts it for ever.
NO_BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": "1"}
_NOT_PASSED_ON = ("TULU_", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "NO_COLOR", "FORCE_COLOR")


def environment(extra: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """The environment of a child: nothing of the user's settings, and no network."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    fixed = {"TULU_CONFIG": os.devnull, "HF_HUB_OFFLINE": "1", "TERM": "xterm-256color"}
    fixed["TULU_RUNTIME_DIR"] = NO_ENGINES
    return kept | fixed | dict(extra)


def tulu(
    *arguments: str | bytes,
    stdin: bytes | IO[Any] | int = subprocess.DEVNULL,
    env: Mapping[str, str] = NOTHING,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run `tulu` to its end; `stdin` is the bytes to pipe in, or a file."""
    piped = stdin if isinstance(stdin, bytes) else None
    streams = {"stdin": stdin if piped is None else subprocess.PIPE}
    streams |= dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with start(arguments, {"env": environment(env), **streams, **options}) as process:
        try:
            output, errors = process.communicate(piped, DEADLINE_SECONDS)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(
    arguments: Sequence[str | bytes], options: Mapping[str, Any]
) -> "subprocess.Popen[bytes]":
    """Start `tulu` with options of Popen, by a fork where that makes no difference."""
    if is_faithful(arguments, options, environment()):
        return Forked(arguments, **options)
    return subprocess.Popen([*TULU, *arguments], **options)


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`tulu` with pipes for all three streams; killed at the end if it still runs.

    The pipes have no buffer on this side, out of whose sight `communicate` would read on.
    """
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    settings: dict[str, Any] = {"env": environment(), "bufsize": 0, **streams}
    process = start(arguments, {"start_new_session": True, **settings, **options})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def peak_memory(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, int]:
    """The exit code of a command, and the most memory that it ever held, in KiB.

    Linux counts to a process what its parent had when it was started: here that is little.
    """
    script = "import resource, subprocess, sys; print(subprocess.run(sys.argv[1:]).returncode, "
    script += "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    code, kibibytes = map(int, done.stdout.split()[-2:])
    return code, kibibytes


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """A stream of a process that was given a pipe for it."""
    assert stream
    return stream


def unread(stream: IO[bytes] | None) -> int:
    """The bytes that nobody has read yet from a pipe."""
    (count,) = unpack("i", fcntl.ioctl(pipe(stream), termios.FIONREAD, b"\0" * 4))
    return int(count)


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which "$@" is `tulu` with these arguments."""
    command = ["bash", "-c", script, "bash", *TULU, *arguments]
    return subprocess.run(
        command,
        env=environment(),
        timeout=DEADLINE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def once_within(seconds: float, measure: Callable[[], float]) -> bool:
    """Whether something takes no longer than this, in one of a few tries.

    Another program can take the processor in the middle of a try; what something needs by itself
    shows in the best one.
    """
    return any(measure() < seconds for _ in range(10))


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true before the deadline."""
    begin = monotonic()
    while not condition():
        waited = monotonic() - begin
        if waited > DEADLINE_SECONDS:
            return False
        # Leaves the processor to the process that is watched: what takes long can take a bit more.
        sleep(0.002 if waited < 1 else 0.02)
    return True
