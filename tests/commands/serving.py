"""`tulu serve` and its kin as processes that share a runtime directory."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.program import environment, pipe, tulu


def said(*arguments: str, code: int = 0, **options: Any) -> tuple[str, str]:
    """stdout and stderr of a run that has to end with this code."""
    done = tulu(*arguments, **options)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def env_of(root: Path) -> dict[str, str]:
    return environment({"TULU_RUNTIME_DIR": str(root)})


def wait_for(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    for line in iter(pipe(process.stderr).readline, b""):
        if words in line:
            return
    pytest.fail("it ended without saying it")
