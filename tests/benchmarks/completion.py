"""Tab: from the key to the line, in each shell, and what asking `tulu` costs of that."""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.completions.conftest import SHELLS, Shell, start

from .report import Row, at_most, print_rows
from .turns import medians

GOAL = at_most(0.15, "ours")
ASKED = [sys.executable, "-m", "tulu_cli"]
PEERS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer": [sys.executable, "-c", "import typer"],
}
TIMES = 15


def main() -> None:
    """Medians; the shells take turns, so that noise falls on all alike."""
    print_rows([*asking(), *pressing()])


def asking() -> list[Row]:
    """The answer to `-m <Tab>` against bare Python, and against the import of Typer alone."""
    found = medians({"tulu": ASKED} | PEERS, TIMES, {"_TULU_CANDIDATES": "MODEL"})
    what = "models for a shell to complete"
    return [Row(what, found["tulu"], peer, found[peer], "s", GOAL) for peer in PEERS]


def pressing() -> list[Row]:
    """A model's name, for which `tulu` is asked, against an option's, which the script knows."""
    with tempfile.TemporaryDirectory() as folder:
        shells = [start(name, Path(folder) / name) for name in SHELLS if shutil.which(name)]
        lines = ("tulu complete -m 405b-dp", "o"), ("tulu complete --gree", "dy")
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(TIMES + 1):
            for shell in shells:
                for typed, rest in lines:
                    found.setdefault((shell.name, typed), []).append(press(shell, typed, rest))
        for shell in shells:
            shell.terminal.close()
    rows = []
    for shell in shells:
        asked, known = (statistics.median(found[shell.name, typed][1:]) for typed, _ in lines)
        what = f"Tab in {shell.name}, a model's name"
        rows.append(Row(what, asked, "an option's name", known, "s", GOAL))
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
    main()
