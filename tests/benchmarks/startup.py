"""Start-up: `tulu --help` and `tulu complete --help` against bare Python and `import typer`."""

import statistics
import subprocess
import sys
import time

from .report import Row, print_rows

COMMANDS = {
    "pass": [sys.executable, "-c", "pass"],
    "typer": [sys.executable, "-c", "import typer"],
    "tulu --help": [sys.executable, "-m", "tulu_cli", "--help"],
    "tulu complete --help": [sys.executable, "-m", "tulu_cli", "complete", "--help"],
}


def main(times: int = 10) -> None:
    """Median seconds of each command, taken in turn so that noise falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(times + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    rows = []
    for name in list(COMMANDS)[2:]:
        for peer, goal in (("typer", "under 1.6"), ("pass", "reported")):
            ratio = medians[name] / medians[peer]
            rows.append(Row(f"{name} / {peer}", medians[name], medians[peer], "s", ratio, goal))
    print_rows(rows)


if __name__ == "__main__":
    main()
