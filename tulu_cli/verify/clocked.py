"""Work in a child process that a clock ends: nothing that an answer holds can stop the others.

The kernel counts the time that the child computes and kills it, also in the middle of a
multiplication of a billion digits, which no signal handler and no thread would interrupt.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Lock
from typing import Any
from weakref import WeakSet

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.machine import install

# Of computing, as open-instruct gives a comparison, though its clock counts waiting too.
COMPUTING_SECONDS = 5.0


class TookTooLong(TuluError):
    """The child was killed by its clock."""


_all: "WeakSet[Clocked]" = WeakSet()


class Clocked:
    """A child that does one task of `tulu_cli.verify.child`, again and again. It starts when asked.

    Threads may share one: they take turns.
    """

    def __init__(self, task: str, *argument: str) -> None:
        self._order = (task, *argument)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        _all.add(self)

    def ask(self, *arguments: Any) -> Any:
        """Return what the task makes of the arguments, which are JSON.

        Raise TookTooLong if its clock ends it, BadInput if the task refuses the arguments or dies
        of them, and TuluError if the task cannot be done on this installation.
        """
        with self._lock:
            return self._read(json.dumps(arguments).encode())

    def check(self) -> None:
        """Make the task, do nothing, and end the child. Raise BadInput, TuluError if it cannot."""
        with self._lock:
            try:
                self._read(b"null")
            finally:
                self._reap()

    def end(self) -> None:
        """End the child, if it has been started."""
        with self._lock:
            self._reap()

    def forget(self) -> None:
        """Let go of a child that belongs to the process that this one was forked from."""
        child, self._child, self._lock = self._child, None, Lock()
        if child is not None:
            child.returncode = 0  # or else it would be waited for
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _read(self, asked: bytes) -> Any:
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(asked + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:  # a Ctrl-C: its answer would be taken for that of the next one
            self._reap()
            raise
        if not line.endswith(b"\n"):
            raise self._ended()
        told = json.loads(line)
        if "missing" in told:
            name = str(told["missing"]).replace("_", "-")
            extra = name if name == "math-verify" else "verify"
            raise TuluError(f"This rule needs {name}: {install(extra)}.")
        if "problem" in told:
            raise BadInput(told["problem"])
        return told["value"]

    def _start(self) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-P", "-m", "tulu_cli.verify.child", str(COMPUTING_SECONDS))
        pipe = subprocess.PIPE
        self._child = subprocess.Popen((*command, *self._order), stdin=pipe, stdout=pipe)
        return self._child

    def _ended(self) -> TuluError:
        assert self._child is not None
        code = self._child.wait()  # its stdout has ended: it is dead, or about to be
        self._reap()
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            return TookTooLong("It takes too long.")
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        return BadInput(f"the process that verifies it has died of it ({how}).")

    def _reap(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdout.close()
            with suppress(BrokenPipeError):  # it flushes what the child has not read
                child.stdin.close()


def _forget_all() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
_children: dict[tuple[str, ...], Clocked] = {}


def clocked(task: str, *argument: str) -> Clocked:
    """Return the child of this process for a task, always the same one."""
    return _children.setdefault((task, *argument), Clocked(task, *argument))


@atexit.register
def end_children() -> None:
    """End the children of this process, if any are left; who is asked again starts again."""
    for child in _children.values():
        child.end()
