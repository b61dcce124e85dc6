"""Understanding a name must not cost the import of anything."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
before = set(sys.modules)
import tulu_cli.models
from tulu_cli.models import FAMILY, locate, resolve
ours = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(ours - sys.stdlib_module_names))
resolve("8b"), FAMILY, locate(resolve(sys.argv[1]), weights=False)
ours = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(ours - sys.stdlib_module_names))
heavy = {"subprocess", "asyncio", "difflib", "socket", "ssl", "email", "http"}
print(sorted(ours & heavy))
"""


def test_only_the_standard_library_is_loaded(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[:3] == ["['tulu_cli']", "['tulu_cli']", "[]"]
