"""Programs to compare with that tulu does not need, in an environment of their own.

    python -m tests.benchmarks.peers

Makes `.bench/peers` with the pinned releases below, once; the benchmarks that name them call it.
"""

import subprocess
import sys
import venv
from pathlib import Path

PEERS = ("llm==0.36", "hf-mem==0.5.6", "typer==0.29.2")
FOLDER = Path(".bench/peers")


def installed() -> Path:
    """The folder of their commands. Raises CalledProcessError where pip cannot install them."""
    made, wanted = FOLDER / "installed.txt", "\n".join(PEERS)
    if not made.exists() or made.read_text() != wanted:
        venv.create(FOLDER, clear=True, with_pip=True)
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", *PEERS]
        subprocess.run([*pip, "--disable-pip-version-check"], check=True)
        # Else the first start of each would compile it, which is no figure of theirs.
        subprocess.run([pip[0], "-m", "compileall", "-q", str(FOLDER / "lib")], check=False)
        made.write_text(wanted)
    return (FOLDER / "bin").absolute()


if __name__ == "__main__":
    sys.stdout.write(f"{installed()}\n")
