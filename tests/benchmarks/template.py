"""`tulu template` against transformers: one conversation, many of them, and memory.

    python -m tests.benchmarks.template [DIRECTORY ...] [--pairs N]

The directories hold tokenizers; without any, the demo model's is used. Times are processor seconds
of whole processes, start included, so that a busy machine changes the ratio less; for `render`
the peer's loop alone is counted, without its start. What two processes gain is wall time. Memory is
measured once.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tulu_cli.models import locate, resolve

from .pairs import alternate
from .report import Asked, Row, at_least, at_most, compare, run

ONE_LINER = (
    "import sys; from transformers import AutoTokenizer; "
    "print(*AutoTokenizer.from_pretrained(sys.argv[1]).apply_chat_template("
    "[{'role': 'user', 'content': 'Hello'}], add_generation_prompt=True, return_dict=False))"
)
LOOP = """
import json, sys, time
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
started = time.process_time()
with open(sys.argv[2], "rb") as rows, open(sys.argv[3], "w") as out:
    for row in rows:
        messages = json.loads(row)["messages"]
        out.write(SHOW(tokenizer.apply_chat_template(messages, **OPTIONS)))
        out.write("\\n---\\n")
print(time.process_time() - started)
"""
TULU = [sys.executable, "-m", "tulu_cli", "template"]
WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be")
PAIRS = 7
MOST_RENDERS = 5


def seconds(command: list[str]) -> tuple[float, float, int, str]:
    """Processor seconds, wall seconds, peak memory in bytes and stdout of a process."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        assert status == 0, command
        # A child's peak begins at what its parent had.
        assert usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out.seek(0)
        text = out.read(200).decode(errors="replace")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, text


def one_conversation(directory: Path, pairs: int) -> Row:
    """Ids of one conversation; the wall time is what a user waits."""
    commands = {
        "ours": [*TULU, "tokens", "--tokenizer", str(directory), "Hello"],
        "transformers": [sys.executable, "-c", ONE_LINER, str(directory)],
    }
    rounds = alternate({name: partial(seconds, line) for name, line in commands.items()}, pairs)
    assert len({text for side in rounds.results.values() for *_, text in side}) == 1, "the same ids"
    what = f"tokens of one conversation, {directory.name}"
    walls = rounds.each(lambda spent: spent[1])
    return compare(walls, what, "ours", "transformers", "s", at_least(20, "gain"))


def write_rows(path: Path, count: int, begin: str = "") -> None:
    """Conversations of four turns, some 1,000 characters each; each text begins with `begin`."""
    draw = random.Random(1)

    def text(words: int) -> str:
        end = draw.choice([".", "?", "\n\n", " <b> | x"])
        return begin + " ".join(draw.choices(WORDS, k=words)) + end

    made = [
        {
            "id": f"row-{number}",
            "messages": [
                {"role": ("user", "assistant")[turn % 2], "content": text(words)}
                for turn, words in enumerate((30, 80, 15, 70))
            ],
            "source": "made",
        }
        for number in range(1000)
    ]
    lines = [json.dumps(row) + "\n" for row in made]
    with path.open("w") as file:
        for number in range(count):
            file.write(lines[number % len(lines)])


def many_conversations(directory: Path, folder: Path, pairs: int) -> Row:
    """Conversations a second of one core, text written to a file by both."""
    count, rows = 100_000, folder / "rows.jsonl"
    write_rows(rows, count)
    source = Path(__file__).parents[2] / "tulu_cli" / "prompt" / "data" / "tulu3.jinja"
    options = {"chat_template": source.read_text(), "eos_token": "<|end_of_text|>"}
    loop = LOOP.replace("**OPTIONS", f"tokenize=False, **{options!r}").replace("SHOW", "")
    peer = [sys.executable, "-c", loop, str(directory), str(rows), str(folder / "out")]
    sides = {
        "ours": lambda: count / seconds([*TULU, "render", str(rows)])[0],
        "apply_chat_template": lambda: count / float(seconds(peer)[-1].split()[-1]),
    }
    rounds = alternate(sides, pairs, warm_up=0)
    what, name = f"render of {count:,} rows", "apply_chat_template"
    return compare(rounds, what, "ours", name, "rows/s", at_least(1))


def many_token_ids(directory: Path, folder: Path, pairs: int) -> Row:
    """Token ids of conversations a second of one core, written to a file by both."""
    count, rows = 5_000, folder / "rows.jsonl"
    write_rows(rows, count)
    loop = LOOP.replace("**OPTIONS", "return_dict=False").replace("SHOW", "str")
    peer = [sys.executable, "-c", loop, str(directory), str(rows), str(folder / "out")]
    ours = [*TULU, "tokens", "--tokenizer", str(directory), str(rows)]
    sides = {
        "ours": lambda: count / seconds(ours)[0],
        "apply_chat_template": lambda: count / float(seconds(peer)[-1].split()[-1]),
    }
    rounds = alternate(sides, pairs, warm_up=0)
    what, name = f"tokens of {count:,} rows", "apply_chat_template"
    return compare(rounds, what, "ours", name, "rows/s", at_least(1))


def protection(directory: Path, folder: Path, pairs: int) -> Row:
    """What it costs to tell who wrote a control token, where each row spells one."""
    count, rows = 20_000, folder / "rows.jsonl"
    write_rows(rows, count, "<|im_end|> ")
    command = [*TULU, "render", "--tokenizer", str(directory), str(rows)]
    sides = {
        "ours": lambda: count / seconds(command)[0],
        "--allow-special": lambda: count / seconds([*command, "--allow-special"])[0],
    }
    rounds = alternate(sides, pairs, warm_up=0)
    what = f"render of {count:,} rows that spell a control token"
    return compare(rounds, what, "ours", "--allow-special", "rows/s", at_least(0.5))


def two_processes(folder: Path, pairs: int) -> Row:
    """Conversations a second of wall time with two processes, and with one; for a quiet machine."""
    count, rows = 500_000, folder / "rows.jsonl"  # the start of both is half a second
    write_rows(rows, count)
    command = [*TULU, "render", str(rows)]

    def rate(jobs: str) -> float:
        started = time.perf_counter()
        subprocess.run([*command, "--jobs", jobs], stdout=subprocess.DEVNULL, check=True)
        return count / (time.perf_counter() - started)

    sides = {"--jobs 2": partial(rate, "2"), "--jobs 1": partial(rate, "1")}
    rounds = alternate(sides, pairs, warm_up=0)
    what = f"render --jobs 2 of {count:,} rows"
    return compare(rounds, what, "--jobs 2", "--jobs 1", "rows/s", at_least(1.8))


def memory(folder: Path) -> Row:
    """Peak memory of a long file and of a short one, in MB."""
    peaks = {}
    for count in (10_000, 1_000_000):
        rows = folder / f"{count}.jsonl"
        write_rows(rows, count)
        _, _, peaks[count], _ = seconds([*TULU, "render", "--json", str(rows)])
        rows.unlink()
    short, long = peaks[10_000] / 1e6, peaks[1_000_000] / 1e6
    what = "peak memory of render, 1,000,000 rows"
    return Row(what, [long], "10,000 rows", [short], "MB", at_most(20, "more"))


def main(asked: Asked) -> list[Row]:
    """All of it."""
    named = [Path(name).absolute() for name in asked.words]
    directories = named or [locate(resolve("demo"), weights=False).directory]
    rows = [one_conversation(directory, asked.pairs) for directory in directories]
    with tempfile.TemporaryDirectory() as folder:
        pairs = min(asked.pairs, MOST_RENDERS)
        rows.append(many_conversations(directories[0], Path(folder), pairs))
        rows.append(many_token_ids(directories[0], Path(folder), pairs))
        rows.append(protection(directories[0], Path(folder), pairs))
        rows.append(two_processes(Path(folder), pairs))
        rows.append(memory(Path(folder)))
    return rows


if __name__ == "__main__":
    run(main, words=None, pairs=PAIRS)
