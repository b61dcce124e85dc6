"""Groups and descendants of processes; the end of a group, with the shared memory it leaves."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.program import pipe
from tulu_cli.processes import descendants, end_child, end_group

# Its tracker of shared memory is a process of the same group, and hears of its end only after it.
STUBBORN = """
import signal, time
from multiprocessing.shared_memory import SharedMemory

signal.signal(signal.SIGTERM, signal.SIG_IGN)
memory = SharedMemory(create=True, size=1)
print(memory.name, flush=True)
time.sleep(1000)
"""


def test_what_does_not_end_when_asked_is_killed_and_its_shared_memory_goes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        memory = Path("/dev/shm") / pipe(process.stdout).readline().decode().strip()
        assert memory.exists()
        end_group(process.pid, 0.1)
    assert not psutil.pid_exists(process.pid)
    assert not memory.exists()


def test_descendants_are_those_of_every_thread_and_of_every_generation() -> None:
    def begin() -> "subprocess.Popen[bytes]":
        script = "sleep 1000 & echo $!; wait"
        return subprocess.Popen(
            ["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
        )

    with ThreadPoolExecutor(1) as pool, pool.submit(begin).result() as child:
        grandchild = int(pipe(child.stdout).readline())
        assert {child.pid, grandchild} <= set(descendants(os.getpid()))
        assert list(descendants(child.pid)) == [grandchild]
        end_child(child)
    assert list(descendants(child.pid)) == []
