"""Run a program that a model wrote, in a child process with limits, and say whether it ended well.

The child has no network where the kernel gives it a namespace of its own, and sees none of the
environment; it works in an empty folder, and is killed with all that it started. It may still read
and write what its user may: a container or a virtual machine protects more.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tulu_cli.errors import TuluError

SECONDS = 3.0  # as OLMES gives a program
# More for a child that does not end by itself: a program may catch what its own clock raises.
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.005
_CHILD = Path(__file__).with_name("sandbox_child.py")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: `why` is the error, where it did not pass."""

    passed: bool
    why: str | None = None


_LATE = Ran(passed=False, why="timed out")


def run(program: str, seconds: float = SECONDS, packages: Sequence[str] = ()) -> Ran:
    """Run a program to its end and return how that was. It passes if it runs to its last line.

    It sees the standard library, and where it may import `packages`, what is installed beside them.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tulu-eval-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as told,
    ):
        source.write(program.encode("utf-8", "replace"))
        source.seek(0)
        # -I: neither the working folder, nor the user's packages and variables, are seen.
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_CHILD), str(seconds), *folders_of(packages)],
            stdin=source,
            stdout=told,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={
                "PATH": os.defpath,
                "HOME": folder,
                "TMPDIR": folder,
                "LANG": "C.UTF-8",
                "OPENBLAS_NUM_THREADS": "1",  # each would reserve memory
            },
            start_new_session=True,
        )
        try:
            ended = _ends(child, seconds + _GRACE_SECONDS)
        finally:
            # Before it is waited for: until then, its number is that of its group and no other's.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        told.seek(0)
        return _read(told.read(), child.returncode) if ended else _LATE


def folders_of(packages: Sequence[str]) -> list[str]:
    """Return the folders in which packages are installed. Raise TuluError if one is not."""
    found: dict[str, None] = {}
    for name in packages:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise TuluError(f"The tests of these programs need {name}: pip install {name}.")
        found[str(Path(spec.origin).parents[1])] = None
    return list(found)


def _ends(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a child without taking its exit code; return False if it does not end in time."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _read(told: bytes, code: int) -> Ran:
    try:
        why = json.loads(told)["why"]
    except (ValueError, KeyError, TypeError):
        if code == -signal.SIGXCPU:
            return _LATE
        return Ran(passed=False, why=f"signal {-code}" if code < 0 else f"exit {code}")
    return Ran(passed=why is None, why=why)


@cache
def protection() -> str:
    """Return in words what protects this computer from the programs, as tried out now."""
    ran = run(
        "import socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except ConnectionRefusedError:\n    raise SystemExit\n"
        "except OSError:\n    pass\n"
    )
    limits = f"in child processes with {SECONDS:g} s, 4 GiB and an empty folder each"
    if ran.passed:
        return f"{limits}, and without a network"
    return f"{limits}; this kernel lets them keep the network"
