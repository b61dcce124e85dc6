"""Commands that are measured: their seconds, what they print, and their memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tests import program

NOTHING: Mapping[str, str] = {}


def tell(text: str) -> None:
    """Say on stderr what takes long, so that silence means that something hangs."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def timed(command: Sequence[str], env: Mapping[str, str] = NOTHING) -> float:
    """Seconds until the command has ended. Raises CalledProcessError where it fails."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **env}, check=True)
    return time.perf_counter() - started


def said(command: Sequence[str], env: Mapping[str, str]) -> bytes:
    """The stdout of a command. Raises RuntimeError with the end of its stderr where it fails."""
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{reason}")
    return done.stdout


def peak_memory(command: Sequence[str]) -> float:
    """The most memory that a command ever held, in MB. Raises CalledProcessError."""
    code, kibibytes = program.peak_memory(command, os.environ)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return kibibytes * 1024 / 1e6
