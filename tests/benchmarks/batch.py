"""`tulu batch` on both engines against what the libraries themselves have for many prompts.

    python -m tests.benchmarks.batch [vllm|transformers ...] [eager] [ROWS]

With `eager` the peers that compile, which takes them minutes, are left out.

Each side is a process of its own, in turns with the others, and reads the same rows: prompts of a
sentence, TOKENS greedy tokens for each, bfloat16, the same room for the KV cache. The seconds are
those from the first prompt to the last answer: ours are what `--stats` says, where the loading of
the engine does not count; the peers' are measured inside their processes (batch_peers.py).
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests.program import environment
from tulu_cli.models import locate, resolve

from .batch_peers import CONTEXT, ROLES, Work
from .report import Goal, Row, at_least, print_rows
from .turns import said, tell

TOKENS = 32
ROWS = {"vllm": 512, "transformers": 64}
ROUNDS = 2
# What both sides of vLLM are given; ours would choose the same by itself.
SAME = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "OMP_NUM_THREADS": str(os.cpu_count()),
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
EAGER = {"TORCHDYNAMO_DISABLE": "1"}
GOALS = {
    "vllm.LLM.generate": at_least(0.95),
    "vllm run-batch": at_least(1),
    "transformers generate_batch": at_least(1),
}
THINGS = ("a river", "the moon", "bread", "a bicycle", "rain", "a clock", "salt", "a bridge")
ASKED = ("What is {}?", "Tell me a story of {}.", "How is {} made?", "Why do people like {}?")


def write_rows(path: Path, count: int) -> None:
    """So many different questions, as requests of OpenAI's batch format."""
    with path.open("w") as file:
        for number in range(count):
            thing = THINGS[number // len(ASKED) % len(THINGS)]
            text = f"{ASKED[number % len(ASKED)].format(thing)} This is question {number}."
            body = {
                "model": "demo",
                "messages": [{"role": "user", "content": text}],
                "max_tokens": TOKENS,
                "temperature": 0,
                "ignore_eos": True,
            }
            request = {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(request) + "\n")


def ours(engine: str, directory: Path, rows: Path) -> Work:
    """`tulu batch`, from the file to the file."""
    stats, records = rows.with_suffix(".stats"), rows.with_suffix(".records")
    command = [sys.executable, "-m", "tulu_cli", "batch", str(rows), "-o", str(records)]
    command += ["--overwrite", "--engine", engine, "-m", str(directory), "--dtype", "bfloat16"]
    command += ["--max-model-len", str(CONTEXT), "--no-server", "--stats", str(stats)]
    tell(f"tulu batch, {engine}")
    said(command, environment(SAME))
    summary = json.loads(stats.read_text())
    assert summary["errors"] == 0
    return Work(summary["seconds"], summary["prompt_tokens"], summary["completion_tokens"])


def theirs(role: str, directory: Path, rows: Path) -> Work:
    """A peer; compiling is what it does as it comes, and what ours does not do on a processor."""
    module = "tests.benchmarks.batch_peers"
    settings = SAME if role.endswith("compiled") else SAME | EAGER
    command = [sys.executable, "-m", module, role, str(directory), str(rows)]
    tell(role)
    return Work(*json.loads(said(command, environment(settings)).splitlines()[-1]))


def measure(
    engine: str, count: int, directory: Path, folder: Path, *, eager: bool = False
) -> list[Row]:
    """Rows a second of all who use this engine; what compiles takes its turn once, or none."""
    rows = folder / f"{engine}.jsonl"
    write_rows(rows, count)
    roles = [role for role in ROLES if role.startswith(engine)]
    mine: list[float] = []
    peers: dict[str, list[float]] = {role: [] for role in roles}
    for turn in range(ROUNDS):
        work = ours(engine, directory, rows)
        mine.append(count / work.seconds)
        for role in roles:
            if role.endswith("compiled") and (turn or eager):
                continue
            other = theirs(role, directory, rows)
            assert other[1:] == work[1:], "the same tokens"
            peers[role].append(count / other.seconds)
    what = f"tulu batch, {engine}, {count} rows, {TOKENS} tokens each"
    return [
        Row(what, statistics.median(mine), role, statistics.median(rates), "rows/s",
            GOALS.get(role, Goal()))
        for role, rates in peers.items() if rates
    ]  # fmt: skip


def main(words: list[str]) -> None:
    """The engines that are named, or both, with so many rows if a number says so."""
    counts = [int(word) for word in words if word.isdigit()]
    directory = locate(resolve("demo")).directory
    figures: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for engine in [word for word in words if word in ROWS] or ROWS:
            count = counts[0] if counts else ROWS[engine]
            figures += measure(engine, count, directory, Path(folder), eager="eager" in words)
    print_rows(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
