"""Tab: from the key to the line, in each shell, and what asking `tulu` costs of that."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.completions.conftest import SHELLS, Shell, start

from .report import Row, print_rows

GOAL = "under 150 ms"
ASKED = [sys.executable, "-m", "tulu_cli"]
PEERS = {"pass": "pass", "typer": "import typer"}
TIMES = 15


def main() -> None:
    """Medians; the shells take turns, so that noise falls on all alike."""
    print_rows([*asking(), *pressing()])


def asking() -> list[Row]:
    """The answer to `-m <Tab>` against bare Python, and against the import of Typer alone."""
    seconds: dict[str, list[float]] = {"tulu": [], **{name: [] for name in PEERS}}
    environment = os.environ | {"_TULU_CANDIDATES": "MODEL"}
    for _ in range(TIMES + 1):
        seconds["tulu"].append(timed(ASKED, environment))
        for name, code in PEERS.items():
            seconds[name].append(timed([sys.executable, "-c", code], environment))
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    ours = medians["tulu"]
    return [
        Row(f"models for a shell / {name}", ours, medians[name], "s", ours / medians[name], GOAL)
        for name in PEERS
    ]


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Seconds until the command has ended."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - started


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
    medians = {what: statistics.median(values[1:]) for what, values in found.items()}
    rows = []
    for shell in shells:
        asked, known = (medians[shell.name, typed] for typed, _ in lines)
        rows.append(
            Row(f"Tab in {shell.name}, model / option", asked, known, "s", asked / known, GOAL)
        )
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
