"""Start-up: what `--help` costs, against bare Python, Typer and the programs of the same kind.

python -m tests.benchmarks.startup [TIMES]
"""

import sys
from pathlib import Path

from .peers import installed
from .report import Goal, Row, at_most, print_rows
from .turns import medians

TULU = [sys.executable, "-m", "tulu_cli"]
OURS = {
    "tulu --help": [*TULU, "--help"],
    "tulu complete --help": [*TULU, "complete", "--help"],
}
GOALS = {"import typer": at_most(1.6)}
SLOW = {"transformers chat --help": 3}  # times, of what takes seconds


def peers() -> dict[str, list[str]]:
    """Their commands."""
    theirs, here = installed(), Path(sys.executable).parent
    return {
        "import typer": [str(theirs / "python"), "-c", "import typer"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "llm --help": [str(theirs / "llm"), "--help"],
        "transformers chat --help": [str(here / "transformers"), "chat", "--help"],
    }


def main(times: int = 10) -> None:
    """Each command so often."""
    quick = {name: command for name, command in peers().items() if name not in SLOW}
    found = medians(OURS | quick, times)
    for name, most in SLOW.items():
        found |= medians({name: peers()[name]}, min(times, most))
    print_rows(
        [
            Row(name, found[name], peer, found[peer], "s", GOALS.get(peer, Goal()))
            for name in OURS
            for peer in peers()
        ]
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
