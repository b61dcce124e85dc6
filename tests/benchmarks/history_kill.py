"""kill -9 of a chat at random moments: turns lost, and seconds of text that had been on the screen.

The peer is a program that keeps a turn when its answer is complete, as those do that log a
finished response. Both are the same real process (tests/chat/writer.py), killed in turns.

    python -m tests.benchmarks.history_kill [TIMES]
"""

import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.chat.killing import Seen, kill_writer, seconds_lost, turns_lost
from tulu_cli.chat.store.open import open_history

from .busy import watched
from .report import NO_GOAL, Asked, Goal, Row, at_most, run

TIMES = 100
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


def main(asked: Asked) -> list[Row]:
    """So many kills of each; the worst and the mean."""
    times = asked.number(TIMES)
    lost, busy = watched(lambda: kill_often(times))
    turns = {mode: sum(turns for turns, _ in all_) for mode, all_ in lost.items()}
    worst = {mode: max(seconds for _, seconds in all_) for mode, all_ in lost.items()}
    mean = {mode: statistics.mean(seconds for _, seconds in all_) for mode, all_ in lost.items()}
    return [
        row(f"turns lost in {times} kill -9 of a chat", turns, "turns", at_most(0, "ours"), busy),
        row(f"worst text lost in {times} kills", worst, "s", at_most(1, "ours"), busy),
        row(f"mean text lost in {times} kills", mean, "s", NO_GOAL, busy),
    ]


def kill_often(times: int) -> dict[str, list[tuple[int, float]]]:
    """The turns and the seconds of text that each kill of each mode lost."""
    lost: dict[str, list[tuple[int, float, Seen]]] = {"often": [], "at-end": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = {mode: Path(folder) / mode / "history.db" for mode in lost}
        for _ in range(times):
            for mode, path in paths.items():
                lost[mode].append(kill(path, mode))
        check_earlier(paths["often"], [seen for _, _, seen in lost["often"]])
    return {mode: [(turns, seconds) for turns, seconds, _ in all_] for mode, all_ in lost.items()}


def row(what: str, values: Mapping[str, float], unit: str, goal: Goal, busy: float | None) -> Row:
    """One figure beside the peer's."""
    peer = "kept when it is complete"
    return Row(what, [values["often"]], peer, [values["at-end"]], unit, goal, busy)


def check_earlier(path: Path, all_seen: list[Seen]) -> None:
    """After all the kills everything is still there that was there after each one."""
    store = open_history(path, print)
    assert sum(turns_lost(store, seen) for seen in all_seen) == 0
    store.close()


if __name__ == "__main__":
    run(main, number="TIMES")
