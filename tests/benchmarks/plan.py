"""`tulu plan` offline for a model of the family, against bare Python, Typer and hf-mem.

    python -m tests.benchmarks.plan [--pairs N]

hf-mem asks the Hub by an address that no setting changes, so its plan is measured only where the
Hub answers; its start-up always is.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from .commands import timed
from .pairs import alternate
from .peers import installed
from .report import NO_GOAL, Asked, Row, at_most, compare, run

# As it is installed: `python -m` would look for the module, and run another one to do so.
TULU = [str(Path(sys.executable).with_name("tulu")), "plan"]
PLAN = [*TULU, "70b", "--gpu", "h100:4"]
REPOSITORY = "allenai/Llama-3.1-Tulu-3-70B"
ANSWER_SECONDS = 20
PAIRS = 20


def main(asked: Asked) -> list[Row]:
    """The plan against what does less, and hf-mem; the help against its help."""
    hf_mem = str(installed() / "hf-mem")
    commands = {
        "plan": PLAN,
        "help": [*TULU, "--help"],
        "import typer": [sys.executable, "-c", "import typer"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "hf-mem --help": [hf_mem, "--help"],
    }
    online = [hf_mem, "--model-id", REPOSITORY, "--experimental"]
    if answers(online):
        commands["hf-mem, over the network"] = online
    else:
        print("hf-mem cannot reach the Hub from here: its plan is not measured.")
    sides = {name: partial(timed, command) for name, command in commands.items()}
    rounds = alternate(sides, asked.pairs)
    goals = {"import typer": at_most(1.6)}
    pairs = [("plan", peer) for peer in commands if peer not in ("plan", "help", "hf-mem --help")]
    names = {"plan": "tulu plan 70b --gpu h100:4", "help": "tulu plan --help"}
    return [
        compare(rounds, names[one], one, peer, "s", goals.get(peer, NO_GOAL))
        for one, peer in [*pairs, ("help", "hf-mem --help")]
    ]


def answers(command: list[str]) -> bool:
    """Whether a command succeeds, and soon."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdout=quiet, stderr=quiet, check=False, timeout=ANSWER_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    run(main, pairs=PAIRS)
