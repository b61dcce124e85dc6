"""A disk of 1 MiB that is full for a while: a chat and a batch go on when there is room again."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

from tests.benchmarks.batch_kill import Fate, batch, compare, finish, write_rows
from tests.mounting import small_disk
from tests.soak.chat import Seen, ask, opened, sessions
from tests.soak.files import run
from tests.soak.report import Outcome, Share

ROWS = 2000  # whose records do not fit beside the ballast
KIBIBYTE = 1024
BATCH_ROOM = 100 * KIBIBYTE


def soak(share: Share) -> Outcome:
    """Fill the disk under a chat and under a batch in turns, and make room."""
    dice, counts, broken = share.random("disk"), Counter[str](), list[str]()
    with small_disk(share.folder / "disk") as mounted:
        if not mounted:
            return Outcome([], skipped="only root may mount a small file system")
        rows, whole = share.folder / "in.jsonl", share.folder / "whole.jsonl"
        write_rows(rows, ROWS)
        finish(batch("fake", rows, whole))
        for _ in share.rounds():
            counts["chat"] += 1
            broken += chat(share.folder / "disk" / "data", dice, counts)
            counts["batch"] += 1
            broken += fill_a_batch(rows, whole, share.folder / "disk" / "out.jsonl", dice)
    outcome = Outcome(["disk full", "times", "questions"], broken=broken)
    outcome.rows += [("chat", counts["chat"], counts["questions"]), ("batch", counts["batch"], "")]
    return outcome


def fill(ballast: Path, room: int = 0) -> None:
    """Take all of the disk but so many bytes."""
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(ballast.parent).free - room)))


def chat(data: Path, dice: random.Random, counts: Counter[str]) -> list[str]:
    """Chat on a disk that is full for some questions; some are left by /new before there is room.

    Return a sentence for each question or answer that is not stored at the end.
    """
    seen, ballast = Seen(), data.parent / "ballast"
    with opened(data) as terminal:
        ask(terminal, seen, dice.randint(1, 50))
        fill(ballast, dice.choice((0, 4 * KIBIBYTE, 20 * KIBIBYTE)))
        for _ in range(dice.randint(1, 4)):
            ask(terminal, seen, dice.randint(1, 200))
            if dice.random() < 0.5:
                terminal.say("/new")
                terminal.until_prompt()
        ballast.unlink()
        for _ in range(dice.randint(0, 2)):  # with none, the end of the chat has to write it
            ask(terminal, seen, dice.randint(1, 50))
        terminal.leave()
        text = terminal.text()
    counts["questions"] += len(seen.answers)
    broken = seen.lost(sessions(data))
    broken += [f"the chat said {word}" for word in ("this is a bug", "Traceback") if word in text]
    shutil.rmtree(data)
    return broken


def fill_a_batch(rows: Path, whole: Path, records: Path, dice: random.Random) -> list[str]:
    """Let a batch run into the full disk, then resume it; return what is wrong with its output."""
    ballast = records.with_name("ballast")
    fill(ballast, dice.randint(1, BATCH_ROOM))
    command = batch("fake", rows, records)
    ended = run(command[3:], {})
    problem = ended.problem() or (ended.code != 1 and f"exit code {ended.code} on a full disk")
    broken = [f"batch: {problem}"] if problem else []
    broken += [f"batch: a torn line, {line!r}" for line in torn(records)]
    ballast.unlink()
    finish(command)
    fate = compare(whole, records)
    records.unlink()
    return broken if fate == Fate(0, 0, 0) else [*broken, f"batch: {fate}"]


def torn(records: Path) -> list[bytes]:
    """Return the lines that are not whole records."""
    found = []
    for line in records.read_bytes().splitlines(keepends=True) if records.exists() else []:
        try:
            json.loads(line)
        except ValueError:
            found.append(line)
        else:
            found += [] if line.endswith(b"\n") else [line]
    return found
