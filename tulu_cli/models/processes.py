"""What every child process of ours needs: an end, and its last words."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any


def end_group(child: subprocess.Popen[Any]) -> None:
    """Kill a child that leads its own process group, with all of that group, and close its pipes.

    One that has ended already is only reaped.
    """
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()


def last_line(log: Path) -> str:
    """The last line of a log that is not empty: the last error, if any line is marked as one."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in told if line.startswith("ERROR: ")]
    return (errors or told or ["no reason given"])[-1].rstrip(".")
