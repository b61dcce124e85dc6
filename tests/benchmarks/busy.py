"""How much of the machine other processes took while a benchmark ran.

Others are all that is neither idle nor a process of this benchmark. The time that a hypervisor
gives to other machines (steal) counts as theirs: it is lost to the benchmark in the same way.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import psutil

T = TypeVar("T")

# A machine that nobody uses spends less than half of this on itself.
BUSY_SHARE = 0.05
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# `adopt_orphans` goes on in a child, for which this stays the process above all that it starts.
_top = os.getpid()


class Clocks(NamedTuple):
    """Seconds that have been counted: of all cores together, idle ones, this benchmark's own."""

    cores: float
    idle: float
    own: float


def share_of_others(before: Clocks, after: Clocks) -> float | None:
    """Return the share of the cores, 0 to 1, that others took; None where no time has passed."""
    cores, idle, own = (end - start for start, end in zip(before, after, strict=True))
    # The kernel counts cores in ticks and processes exactly, so the difference may be below 0.
    return max(cores - idle - own, 0.0) / cores if cores > 0 else None


def is_busy(share: float | None) -> bool:
    """Return whether so large a share makes a figure doubtful."""
    return share is not None and share >= BUSY_SHARE


def read_clocks() -> Clocks:
    """Read the clocks of the cores, and those of this benchmark's processes, ended ones too."""
    times = psutil.cpu_times()
    idle = times.idle + times.iowait
    spent = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    top, own = psutil.Process(_top), 0.0
    for process in (*top.children(recursive=True), top):
        with suppress(psutil.NoSuchProcess):
            own += sum(process.cpu_times()[:4])  # those of children that were waited for are in it
    return Clocks(spent + idle, idle, own)


def watched(action: Callable[[], T]) -> tuple[T, float | None]:
    """Return what an action returns, and the share of the cores that others took meanwhile."""
    before = read_clocks()
    result = action()
    return result, share_of_others(before, read_clocks())


def adopt_orphans() -> None:
    """Go on in a child of this process, which stays to wait for that child and for all orphans.

    A warm engine outlives the command that started it. Adopted by init, its processor time could
    not be told from that of strangers; adopted here, it counts as this benchmark's. Linux only.
    """
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # until each knows what to do with them
    child = os.fork()
    if child != 0:
        signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(child, number))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    if child == 0:
        return
    ended = 0
    while ended != child:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
