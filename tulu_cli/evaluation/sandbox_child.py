"""The program of `sandbox`: limits itself, then runs the program that stdin holds. Loads no tulu.

python -I -S sandbox_child.py SECONDS [FOLDER]...

Programs may import what is installed in the folders.
"""

import builtins
import ctypes
import json
import os
import resource
import signal
import sys

_MEMORY_BYTES = 4 * 2**30
_FILE_BYTES = 16 * 2**20
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of linux/sched.h


def main(seconds: float) -> None:
    """Run the program, and write the error that ended it, null for none, to what was stdout."""
    program = sys.stdin.buffer.read().decode("utf-8")
    answer = os.dup(1)
    os.set_inheritable(answer, False)  # noqa: FBT003
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    _limit(seconds)
    why = _run(program, seconds)
    os.write(answer, json.dumps({"why": why}).encode())
    os._exit(0)  # what the program left behind, threads and exit handlers, has nothing to say


def _limit(seconds: float) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)  # where it may; `protection` tells
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(seconds) + 1),
    ):
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):
            continue  # a lower limit holds already, or the system knows none


def _run(program: str, seconds: float) -> str | None:
    def quit_(*_: object) -> None:
        raise SystemExit

    builtins.input = quit_  # type: ignore[assignment]  # stdin holds nothing for it
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        exec(compile(program, "program", "exec"), {"__name__": "program"})  # noqa: S102
        why = None
    except BaseException as error:  # noqa: BLE001  (SystemExit too: a program must run to its end)
        why = f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "timed out" if _late else why


_late: list[bool] = []  # filled once the time is up, which a program may catch


def _time_is_up(*_: object) -> None:
    _late.append(True)
    raise TimeoutError


if __name__ == "__main__":
    sys.path += sys.argv[2:]
    main(float(sys.argv[1]))
