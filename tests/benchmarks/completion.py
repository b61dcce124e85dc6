"""Tab: from the key to the line, in each shell, and what asking `tulu` costs of that.

python -m tests.benchmarks.completion [--pairs N]
"""

import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.completions.conftest import SHELLS, Shell, start

from .commands import timed
from .pairs import alternate
from .report import Asked, Row, at_most, compare, run

GOAL = at_most(0.15, "ours")
ASKED = [sys.executable, "-m", "tulu_cli"]
PEERS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
}
PAIRS = 20
KNOWN = "an option's name"


def main(asked: Asked) -> list[Row]:
    """What asking costs, and what pressing the key does."""
    return [*asking(asked.pairs), *pressing(asked.pairs)]


def asking(pairs: int) -> list[Row]:
    """The answer to `-m <Tab>` against bare Python, and against the import of Typer alone."""
    variable = {"_TULU_CANDIDATES": "MODEL"}
    commands = {"tulu": ASKED} | PEERS
    sides = {name: partial(timed, line, variable) for name, line in commands.items()}
    rounds = alternate(sides, pairs)
    what = "models for a shell to complete"
    return [compare(rounds, what, "tulu", peer, "s", GOAL) for peer in PEERS]


def pressing(pairs: int) -> list[Row]:
    """A model's name, for which `tulu` is asked, against an option's, which the script knows."""
    rows = []
    for name in filter(shutil.which, SHELLS):
        with tempfile.TemporaryDirectory() as folder:
            shell = start(name, Path(folder))
            sides = {
                "asked": partial(press, shell, "tulu complete -m 405b-dp", "o"),
                KNOWN: partial(press, shell, "tulu complete --gree", "dy"),
            }
            rounds = alternate(sides, pairs)
            shell.terminal.close()
        what = f"Tab in {name}, a model's name"
        rows.append(compare(rounds, what, "asked", KNOWN, "s", GOAL))
    return rows


def press(shell: Shell, typed: str, rest: str) -> float:
    """Seconds from Tab to the completed line on the screen."""
    shell.type(typed)
    shell.terminal.see(f"$ {typed}")
    started = time.perf_counter()
    shell.terminal.type("\t")
    shell.terminal.see(f"$ {typed}{rest}")
    return time.perf_counter() - started


if __name__ == "__main__":
    run(main, pairs=PAIRS)
