"""Run the soak, all of it or the parts that are named; exit with 1 if a promise was broken.

    python -m tests.soak [--minutes N] [--seed N] [PART ...]

The parts share the minutes. The same seed asks, kills and damages in the same order, though not at
the same moment of what the program does.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak import batch, chat, disk, files, server
from tests.soak.report import Outcome, Share


@dataclass(frozen=True)
class Part:
    """A part of the soak, and its share of the minutes beside those of the others."""

    soak: Callable[[Share], Outcome]
    weight: float


PARTS = {
    "server": Part(server.soak, 5),
    "chat": Part(chat.soak, 2),
    "batch": Part(batch.soak, 2),
    "files": Part(files.soak, 2),
    "disk": Part(disk.soak, 1),
}


def main(names: list[str], seconds: float, seed: int) -> int:
    """Return the exit code."""
    again = f"python -m tests.soak --seed {seed} {' '.join(names)}".strip()
    print(f"{again}, for {seconds / 60:g} minutes", flush=True)
    chosen = {name: PARTS[name] for name in names or PARTS}
    whole = sum(part.weight for part in chosen.values())
    broken = [
        name
        for name, part in chosen.items()
        if not is_kept(name, part, seconds * part.weight / whole, seed)
    ]
    print(f"\nbroken: {', '.join(broken)}" if broken else "\nevery promise was kept")
    return 1 if broken else 0


def is_kept(name: str, part: Part, seconds: float, seed: int) -> bool:
    """Run a part and print its table. Return False if it broke a promise, or did not run."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tulu-soak-") as folder:
        try:
            outcome = part.soak(Share(seconds, seed, Path(folder)))
        except Exception:
            outcome = Outcome(["it failed"], broken=[traceback.format_exc()])
    print(f"\n{name}, {time.monotonic() - began:.0f} s\n{outcome}", flush=True)
    return not outcome.broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    # Whatever ends the soak ends what it has started; a shell's background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    sys.exit(main(asked.parts, 60 * asked.minutes, asked.seed))
