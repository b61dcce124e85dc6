"""The end of a group of processes: all of it, and the shared memory that it leaves."""

import subprocess
import sys
from pathlib import Path

import psutil

from tests.program import pipe
from tulu_cli.processes import end_group

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
