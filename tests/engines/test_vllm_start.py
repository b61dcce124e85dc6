"""The memory that vLLM's workers on a CPU share: it has no name once they have it open."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from tests.program import pipe
from tulu_cli.engines.vllm.start import unname_shared_memory

# Has its files open and mapped, as a worker has, until its stdin ends.
MAP = """
import mmap, os, sys
maps = [mmap.mmap(os.open(os.fsencode(path), os.O_RDWR), 1) for path in sys.argv[1:]]
print(flush=True)
sys.stdin.read()
"""


def test_names_go_of_what_workers_share_whatever_else_they_have_open(tmp_path: Path) -> None:
    shared, foreign = (Path(f"/dev/shm/tulu-test-{uuid4().hex}-cpushm_{rank}") for rank in (0, 1))
    odd = tmp_path / "not UTF-8: \udcff"
    for path in (odd, shared, foreign):
        path.write_bytes(b".")
    try:
        with subprocess.Popen(
            [sys.executable, "-c", MAP, odd, shared],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as worker:
            assert pipe(worker.stdout).readline()
            unname_shared_memory()
            unname_shared_memory()  # there is none by now
            assert [path.exists() for path in (odd, shared, foreign)] == [True, False, True]
            pipe(worker.stdin).close()
        assert worker.returncode == 0
    finally:
        for path in (shared, foreign):
            path.unlink(missing_ok=True)
