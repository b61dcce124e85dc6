"""Killing the writer, and counting what its reader saw and the store has not."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chat.writer import text_of
from tests.program import environment
from tulu_cli.chat.session import Session
from tulu_cli.chat.store.base import Store


@dataclass
class Seen:
    """What the writer printed before it was killed."""

    session_id: str = ""
    questions: list[str] = field(default_factory=list)
    answers: dict[str, list[float]] = field(default_factory=dict)


def kill_writer(path: Path, is_enough: Callable[[int], bool], mode: str = "often") -> Seen:
    """Start the writer, kill it as soon as so many lines are enough, and read them all."""
    command = [sys.executable, "-m", "tests.chat.writer", str(path), mode]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as process:
        assert process.stdout
        while not is_enough(len(lines)):
            lines.append(process.stdout.readline())
        process.kill()
        lines += process.stdout.readlines()
    return understand([line.split() for line in lines if line.endswith("\n")])


def understand(lines: list[list[str]]) -> Seen:
    """The lines as values."""
    seen = Seen()
    for word, first, second, *rest in lines:
        if word == "asked":
            seen.session_id = first
            seen.questions.append(second)
        else:
            assert int(second) == len(seen.answers.setdefault(first, [])) + 1
            seen.answers[first].append(float(rest[0]))
    return seen


def turns_lost(store: Store, seen: Seen) -> int:
    """Questions that were shown as sent, and earlier answers, that are not there in full."""
    if not seen.questions:
        return 0
    nodes = loaded(store, seen).nodes
    finished = [(node, len(times)) for node, times in seen.answers.items()][:-1]
    questions = sum(question not in nodes for question in seen.questions)
    return questions + sum(
        node not in nodes or nodes[node].content != text_of(pieces) for node, pieces in finished
    )


def seconds_lost(store: Store, seen: Seen) -> float:
    """How long before the last piece of an answer came the oldest one that is not there."""
    if not seen.answers:
        return 0.0
    node_id, times = list(seen.answers.items())[-1]
    nodes = loaded(store, seen).nodes
    kept = nodes[node_id].content.count(" ") if node_id in nodes else 0
    if node_id in nodes:
        assert nodes[node_id].content == text_of(kept), "a beginning of what was said"
    return times[-1] - times[kept] if kept < len(times) else 0.0


def loaded(store: Store, seen: Seen) -> Session:
    """The session that was killed; an empty one where the store does not know it."""
    if seen.session_id in [one.id for one in store.summaries()]:
        return store.load(seen.session_id)
    return Session(seen.session_id, 0.0)
