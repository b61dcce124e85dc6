"""`tulu batch` on both engines against what the libraries themselves have for many prompts.

    python -m tests.benchmarks.batch [vllm|transformers ...] [compiled] [ROWS] [--pairs N]

The peers that compile, which takes them minutes each time, are measured only with `compiled`.

Each side is a process of its own in each round, and reads the same rows: prompts of a sentence,
TOKENS greedy tokens for each, bfloat16, the same room for the KV cache. The seconds are those from
the first prompt to the last answer: ours are what `--stats` says, where the loading of the engine
does not count; the peers' are measured inside their processes (batch_peers.py).
"""

import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.program import environment
from tulu_cli.models import locate, resolve

from .batch_peers import CONTEXT, ROLES, Work
from .commands import said, tell
from .pairs import alternate
from .report import NO_GOAL, Asked, Row, at_least, compare, run

TOKENS = 32
ROWS = {"vllm": 512, "transformers": 64}
PAIRS = 3
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
    engine: str, count: int, directory: Path, folder: Path, pairs: int, *, compiled: bool
) -> list[Row]:
    """Rows a second of all who use this engine."""
    rows = folder / f"{engine}.jsonl"
    write_rows(rows, count)
    roles = [role for role in ROLES if role.startswith(engine)]
    roles = [role for role in roles if compiled or not role.endswith("compiled")]
    sides = {"ours": partial(ours, engine, directory, rows)}
    sides |= {role: partial(theirs, role, directory, rows) for role in roles}
    rounds = alternate(sides, pairs, warm_up=0)
    assert len({work[1:] for side in rounds.results.values() for work in side}) == 1, "same tokens"
    rates = rounds.each(lambda work: count / work.seconds)
    what = f"tulu batch, {engine}, {count} rows, {TOKENS} tokens each"
    return [
        compare(rates, what, "ours", role, "rows/s", GOALS.get(role, NO_GOAL)) for role in roles
    ]


def main(asked: Asked) -> list[Row]:
    """The engines that are named, or both, with so many rows if a number says so."""
    directory = locate(resolve("demo")).directory
    compiled = "compiled" in asked.words
    figures: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for engine in asked.chosen(ROWS) or ROWS:
            count = asked.number(ROWS[engine])
            figures += measure(engine, count, directory, folder, asked.pairs, compiled=compiled)
    return figures


if __name__ == "__main__":
    run(main, words=(*ROWS, "compiled"), number="ROWS", pairs=PAIRS)
