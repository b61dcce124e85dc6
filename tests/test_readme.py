"""The README's console blocks are run as they stand, on the demo model."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS, environment

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def steps(block: str) -> list[tuple[str, int, list[str]]]:
    """The commands of a block, each with its exit code and the lines that it prints."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *printed = part.rstrip("\n").split("\n")
        code = re.search(r"  # exit (\d+)", command)
        found.append((command, int(code[1]) if code else 0, [x for x in printed if x != "..."]))
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0][2:40])
def test_a_block_does_what_it_says(block: str, tmp_path: Path, demo_directory: Path) -> None:
    own = {name: str(tmp_path / name) for name in ("TULU_DATA_DIR", "TULU_CONFIG")}
    # A socket's whole path has to fit in 107 bytes.
    runtime = Path("/tmp") / f"tulu-readme-{os.getpid()}"
    (tmp_path / "TULU_CONFIG").write_text("")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cache = {"TULU_CACHE_DIR": str(demo_directory.parents[1]), "TULU_RUNTIME_DIR": str(runtime)}
    variables = environment({**own, **cache, "PATH": path})
    for command, code, printed in steps(block):
        done = subprocess.run(
            ["bash", "-c", command],
            env=variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == code, f"{command}: {done.stderr}"
        assert [line for line in printed if line not in done.stdout.split("\n")] == [], command


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 7
