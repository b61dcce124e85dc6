"""vLLM's worker processes: they die with their parent, and print into a file.

vLLM forks its workers where it can. It spawns them where CUDA has been initialised, under WSL, and
where VLLM_WORKER_MULTIPROC_METHOD says so. A forked worker comes through a hook of `os`, a spawned
one through `worker.sh`, which multiprocessing starts in Python's place; both end in `_begin`.
"""

import ctypes
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from threading import Thread
from typing import Any

from tulu_cli.models.hub import is_offline

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_ERROR = re.compile(r"^(?:\([^)]*\) )?(?:\S+ )*?([A-Za-z_.]*(?:Error|Exception): .+)$")
# What a process says when another one, whose reason stands above it, has failed.
_SECOND_HAND = ("initialization failed", "EngineDeadError", "cancelled")
_TAIL = 65536
_STARTER = Path(__file__).with_name("worker.sh")
_QUIET_TRACKER = "ignore:resource_tracker:UserWarning"
# What a spawned worker is told: the Python to run, who its parent is, and the file to print into.
_PYTHON, _PARENT, _LOG = "TULU_WORKER_PYTHON", "TULU_WORKER_PARENT", "TULU_WORKER_LOG"
# The same for a forked worker, which inherits this module as it is; no parent: it is not minded.
_parent: int | None = None
_log: Path | None = None
_is_registered = False


@contextmanager
def minded_workers(log: Path | None = None) -> Iterator[None]:
    """Have workers that are started in here killed when the thread that started them ends.

    With a `log`, workers print into that file and leave our process group, so that a Ctrl-C in the
    terminal is ours alone. Processes that workers start die with them in the same way.
    """
    global _parent, _log, _is_registered
    if not _is_registered:
        os.register_at_fork(after_in_child=_begin_forked)
        _is_registered = True
    told = {_PYTHON: sys.executable, _PARENT: str(os.getpid()), _LOG: str(log or "")}
    _parent, _log = os.getpid(), log
    try:
        with _started_by_ours(told):
            yield
    finally:
        _parent, _log = None, None


@contextmanager
def _started_by_ours(told: dict[str, str]) -> Iterator[None]:
    """Have multiprocessing spawn through `worker.sh` in here, with `told` in the environment."""
    from multiprocessing import resource_tracker, spawn

    # It outlives whoever it tracks, to remove their shared memory: it must not be started as ours.
    # That it removes what a worker has left is what it is for, and nothing to warn the user of.
    sys.warnoptions.append(_QUIET_TRACKER)
    resource_tracker.ensure_running()
    sys.warnoptions.remove(_QUIET_TRACKER)
    before = spawn.get_executable()
    os.environ.update(told)
    spawn.set_executable(str(_STARTER))
    try:
        yield
    finally:
        spawn.set_executable(before)
        for name in told:
            os.environ.pop(name, None)


def begin_spawned() -> None:
    """Make this process a minded worker; `worker.sh` calls this before anything else."""
    from multiprocessing import spawn

    log = os.environ.get(_LOG)
    _begin(int(os.environ[_PARENT]), Path(log) if log else None)
    os.environ.update({_PARENT: str(os.getpid()), _LOG: ""})
    spawn.set_executable(str(_STARTER))


def _begin_forked() -> None:
    global _parent, _log
    if _parent is None:
        return
    _begin(_parent, _log)
    logging.disable(logging.NOTSET)
    _parent, _log = os.getpid(), None  # what it forks inherits its group and its output


def _begin(parent: int, log: Path | None) -> None:
    end_with(parent, signal.SIGKILL)
    # At its end vLLM would look for garbage among the modules too, half a second in each process,
    # and have each page of them copied: what it has goes with the process.
    gc.unfreeze = gc.freeze
    if log is None:
        return
    os.setpgid(0, 0)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)


def end_with(parent: int, number: int) -> None:
    """Receive signal `number` when `parent`, which started this process, ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


def last_error(tail: bytes | bytearray) -> str | None:
    """Return the last line of a log that names an exception and its own reason, without prefix."""
    lines = tail.decode("utf-8", errors="replace").splitlines()
    found = [match.group(1) for line in reversed(lines) if (match := _ERROR.match(line))]
    first_hand = (line for line in found if not any(sign in line for sign in _SECOND_HAND))
    return next(iter((*first_hand, *found)), "").rstrip(".") or None


def last_error_of(log: Path) -> str | None:
    """Return what `last_error` finds at the end of a file; None where there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return last_error(file.read())
    except OSError:
        return None


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send to stderr what a library prints on stdout while it loads, as it is not an answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def overheard_stderr() -> Iterator[bytearray]:
    """Keep the end of what comes on stderr in here, also from workers that start in here.

    Everything is passed on as it comes. What is yielded holds the last 64 KiB afterwards.
    """
    tail = bytearray()
    passed_to = os.dup(2)
    reading, writing = os.pipe()
    over, say_over = os.pipe()  # a process that lives on holds the first pipe open

    def pass_on() -> None:
        ready: list[int] = []
        while over not in ready:
            ready = select([reading, over], [], [])[0]
            if reading in ready:
                keep(os.read(reading, _TAIL))  # all that a pipe holds

    def keep(said: bytes) -> None:
        tail.extend(said)
        del tail[:-_TAIL]
        with suppress(OSError):  # nobody reads it: it is kept all the same
            while said:
                said = said[os.write(passed_to, said) :]

    passing = Thread(target=pass_on, daemon=True)
    passing.start()
    sys.stderr.flush()
    os.dup2(writing, 2)
    try:
        yield tail
    finally:
        sys.stderr.flush()
        os.dup2(passed_to, 2)
        os.write(say_over, b".")
        passing.join()
        for descriptor in (passed_to, reading, writing, over, say_over):
            os.close(descriptor)


_VARIABLE = "HF_HUB_OFFLINE"


@contextmanager
def hub_switched_off() -> Iterator[None]:
    """Keep libraries from opening a socket in here: every file is on this machine already.

    Worker processes that are started in here are kept from it too. Afterwards everything is as it
    was, so that this process can still fetch another model.
    """
    before = os.environ.get(_VARIABLE)
    known = _constants().HF_HUB_OFFLINE if _constants() else None
    os.environ[_VARIABLE] = "1"
    _tell_the_library(offline=True)
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before
        _tell_the_library(offline=is_offline() if known is None else known)


def _constants() -> Any:
    """Return the module where the Hub's library keeps what it read, if it is imported already."""
    return sys.modules.get("huggingface_hub.constants")


def _tell_the_library(*, offline: bool) -> None:
    if constants := _constants():
        constants.HF_HUB_OFFLINE = offline
