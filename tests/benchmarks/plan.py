"""`tulu plan` offline for a built-in model, against bare Python and `import typer`."""

import statistics
import subprocess
import sys
import time

from .report import Row, print_rows

PEERS = {
    "pass": [sys.executable, "-c", "pass"],
    "typer": [sys.executable, "-c", "import typer"],
}
PLAN = [sys.executable, "-m", "tulu_cli", "plan", "70b", "--gpu", "h100:4"]


def main(times: int = 20) -> None:
    """Median seconds of each command, taken in turn so that noise falls on all alike."""
    commands = PEERS | {"tulu plan": PLAN}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    goals = {"typer": "under 1.6", "pass": "reported"}
    planned = medians["tulu plan"]
    print_rows(
        [
            Row(
                f"tulu plan 70b --gpu h100:4 / {peer}",
                planned,
                medians[peer],
                "s",
                planned / medians[peer],
                goals[peer],
            )
            for peer in ("typer", "pass")
        ]
    )


if __name__ == "__main__":
    main()
