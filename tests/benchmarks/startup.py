"""Start-up: what `--help` costs, against bare Python, Typer and the programs of the same kind.

python -m tests.benchmarks.startup [--pairs N]
"""

import sys
from functools import partial
from pathlib import Path

from .commands import timed
from .pairs import alternate
from .peers import installed
from .report import NO_GOAL, Asked, Row, at_most, compare, run

# As it is installed: `python -m` would look for the module, and run another one to do so.
TULU = [str(Path(sys.executable).with_name("tulu"))]
OURS = {
    "tulu --help": [*TULU, "--help"],
    "tulu complete --help": [*TULU, "complete", "--help"],
}
GOALS = {"import typer": at_most(1.6)}
PAIRS = 20
SLOW = {"transformers chat --help": 5}  # pairs, of what takes seconds


def peers() -> dict[str, list[str]]:
    """Their commands."""
    theirs, here = installed(), Path(sys.executable).parent
    return {
        "import typer": [sys.executable, "-c", "import typer"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "llm --help": [str(theirs / "llm"), "--help"],
        "transformers chat --help": [str(here / "transformers"), "chat", "--help"],
    }


def main(asked: Asked) -> list[Row]:
    """Each of ours against each peer; the slow ones have rounds of their own, which are fewer."""
    theirs = peers()
    quick = {name: command for name, command in theirs.items() if name not in SLOW}
    series = [(quick, asked.pairs)]
    series += [({name: theirs[name]}, min(asked.pairs, most)) for name, most in SLOW.items()]
    rows = []
    for commands, count in series:
        sides = {name: partial(timed, line) for name, line in (OURS | commands).items()}
        rounds = alternate(sides, count)
        rows += [
            compare(rounds, one, one, peer, "s", GOALS.get(peer, NO_GOAL))
            for one in OURS
            for peer in commands
        ]
    return rows


if __name__ == "__main__":
    run(main, pairs=PAIRS)
