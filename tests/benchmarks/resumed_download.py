"""A download killed half-way and begun again: bytes sent twice, and bytes left behind for ever."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.models.fake_hub import FakeHub
from tests.models.repository import REPO, TEXTS
from tests.program import environment, eventually

from .report import Asked, Row, at_most, run

SIZE = 200_000_000
NAME = "model.safetensors"
COMMANDS = {
    "tulu models pull": [sys.executable, "-m", "tulu_cli", "models", "pull", REPO],
    "snapshot_download": [
        sys.executable,
        "-c",
        "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1])",
        REPO,
    ],
}


def measure(command: list[str], data: bytes) -> tuple[int, int]:
    """The bytes that the second run is sent, and those that no file needs and that stay."""
    with FakeHub() as hub, tempfile.TemporaryDirectory() as folder:
        hub.repositories[REPO] = TEXTS | {NAME: data}
        hub.stalled = {NAME}
        settings = {
            "HF_ENDPOINT": hub.address,
            "HF_HUB_CACHE": folder,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "XDG_STATE_HOME": folder,
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment(settings), **quiet)
        assert eventually(lambda: received(folder) >= SIZE * 9 // 20)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        hub.stalled.clear()
        hub.go_on.set()
        hub.ranges.clear()
        subprocess.run(command, env=environment(settings), check=True, **quiet)
        sent = sum(SIZE - begin for name, begin in hub.ranges if name == NAME)
        return sent, received(folder)


def received(folder: str) -> int:
    """The bytes of files that are not whole."""
    return sum(path.stat().st_size for path in Path(folder).glob("*/blobs/*.incomplete"))


def main(_asked: Asked) -> list[Row]:
    """Both programs, one after the other."""
    data = os.urandom(1_000_000) * (SIZE // 1_000_000)
    (ours, left), (theirs, their_left) = (measure(command, data) for command in COMMANDS.values())
    figures = {
        "sent again after a kill half-way": (ours, theirs, at_most(0.6)),
        "left behind for ever": (left, their_left, at_most(0, "ours")),
    }
    return [
        Row(what, [mine / 1e6], "snapshot_download", [other / 1e6], "MB", goal)
        for what, (mine, other, goal) in figures.items()
    ]


if __name__ == "__main__":
    run(main)
