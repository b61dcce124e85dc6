"""The programs of HumanEval's answers: run each once, and keep how it ended."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.disk import writing
from tulu_cli.evaluation import record
from tulu_cli.evaluation.sandbox import protection, run
from tulu_cli.evaluation.task import Task
from tulu_cli.evaluation.tasks.humaneval import program
from tulu_cli.text import plural

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def run_programs(folder: Path, task: Task, streams: "Streams") -> None:
    """Run the programs of a task's answers that have not been run. Raise BadInput, TuluError."""
    done = {one["id"]: one["key"] for one in record.read_records(record.ran(folder, task.name))}
    waiting = [
        one
        for one in record.read_records(record.answers(folder, task.name))
        if "error" not in one and done.get(one["id"]) != one["key"]
    ]
    if not waiting:
        return
    streams.say(f"tulu: running programs that the model wrote, {protection()}")
    path = record.ran(folder, task.name)
    whole = _whole_lines(path)
    with writing(path), path.open("ab") as output:
        output.truncate(whole)
        for number, line in enumerate(_ran(waiting, task.packages), 1):
            output.write(line)
            output.flush()
            streams.show_status(f"{number:,} of {plural(len(waiting), 'problem')} run")
    streams.show_status("")


def _ran(answers: list[dict[str, Any]], packages: tuple[str, ...]) -> Iterator[bytes]:
    # Threads, as each only waits for a child.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for answer in answers:
            label = answer["columns"]["label"]
            programs = [program(text, label) for text in texts(answer)]
            ended = list(pool.map(partial(run, packages=packages), programs))
            made = {
                "id": answer["id"],
                "passed": [one.passed for one in ended],
                "why": [one.why for one in ended],
                "key": answer["key"],
            }
            yield json.dumps(made, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def texts(answer: dict[str, Any]) -> list[str]:
    """Return the texts of an answer, one a sample."""
    return [str(one["text"]) for one in answer.get("choices", (answer,))]


def _whole_lines(path: Path) -> int:
    """Return the bytes of a file up to its last line end: a kill may have torn what follows."""
    data = path.read_bytes() if path.exists() else b""
    return data.rfind(b"\n") + 1
