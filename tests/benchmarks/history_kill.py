"""kill -9 of a chat at random moments: turns lost, and seconds of text that had been on the screen.

The peer is a program that keeps a turn when its answer is complete, as those do that log a
finished response. Both are the same real process (tests/chat/writer.py), killed in turns.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.chat.killing import Seen, kill_writer, seconds_lost, turns_lost
from tulu_cli.chat.place import open_history

from .report import Goal, Row, at_most, print_rows

LONGEST_SECONDS = 4.0  # two answers of the writer's, so that the kill falls anywhere in one


def kill(path: Path, mode: str) -> tuple[int, float, Seen]:
    """Kill the writer after a random time; what the store has not of what was seen."""
    end = time.monotonic() + random.uniform(0.1, LONGEST_SECONDS)
    seen = kill_writer(path, lambda _lines: time.monotonic() >= end, mode)
    store = open_history(path, print)
    try:
        return turns_lost(store, seen), seconds_lost(store, seen), seen
    finally:
        store.close()


def main(times: int = 100) -> None:
    """So many kills of each; the worst and the mean."""
    lost: dict[str, list[tuple[int, float, Seen]]] = {"often": [], "at-end": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = {mode: Path(folder) / mode / "history.db" for mode in lost}
        for _ in range(times):
            for mode, path in paths.items():
                lost[mode].append(kill(path, mode))
        check_earlier(paths["often"], [seen for _, _, seen in lost["often"]])
    turns = {mode: sum(turns for turns, _, _ in all_) for mode, all_ in lost.items()}
    worst = {mode: max(seconds for _, seconds, _ in all_) for mode, all_ in lost.items()}
    mean = {mode: statistics.mean(seconds for _, seconds, _ in a) for mode, a in lost.items()}
    rows = [
        row(f"turns lost in {times} kill -9 of a chat", turns, "turns", at_most(0, "ours")),
        row(f"worst text lost in {times} kills", worst, "s", at_most(1, "ours")),
        row(f"mean text lost in {times} kills", mean, "s", Goal()),
    ]
    print_rows(rows)


def row(what: str, values: dict[str, float], unit: str, goal: Goal) -> Row:
    """One figure beside the peer's."""
    return Row(what, values["often"], "kept when it is complete", values["at-end"], unit, goal)


def check_earlier(path: Path, all_seen: list[Seen]) -> None:
    """After all the kills everything is still there that was there after each one."""
    store = open_history(path, print)
    assert sum(turns_lost(store, seen) for seen in all_seen) == 0
    store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
