"""`tulu batch` over several servers: speed by their number, its own cost, and what deaths cost.

    python -m tests.benchmarks.servers [speed] [cost] [tokens] [death] [chaos] [ROUNDS]

The servers compute nothing: they answer after a time. `speed` is N of them against one; `cost` the
processor time and the memory of the coordinator; `tokens` that time where answers are long;
`death` how long after a kill -9 the rows of that
server run elsewhere; `chaos` kills servers at random moments, in so many rounds, and compares what
was written with the output of one server.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.program import environment
from tests.token_server import Running, servers
from tulu_cli.models import locate, resolve

from .busy import watched
from .report import NO_GOAL, Asked, Row, at_least, at_most, run

LATENCY, IN_FLIGHT = 1.0, "32"
NUMBERS = (1, 2, 4, 8)
ROUNDS = 200
FEW, MANY, SERVERS = 5_000, 100_000, 64
LONG = 200  # tokens
PARTS = ("speed", "cost", "tokens", "death", "chaos")


def write_rows(path: Path, count: int) -> None:
    """Texts of a few tokens."""
    with path.open("w") as file:
        file.writelines(
            f'{{"id": "r{number}", "text": "Row {number}"}}\n' for number in range(count)
        )


def command(rows: Path, output: Path, asked: Sequence[Running], *more: str) -> list[str]:
    """What answers the rows with these servers."""
    given = [word for one in asked for word in ("--server", one.url)]
    batch = [sys.executable, "-m", "tulu_cli", "batch", str(rows), "-o", str(output)]
    return [*batch, "--overwrite", *given, *(more or ("--max-tokens", "8"))]


def answer(command: list[str]) -> tuple[float, int]:
    """Run it to its end; the processor seconds that it took, and the most KiB that it held."""
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{process.returncode}: {said[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def speed(root: str, folder: Path) -> list[Row]:
    """Rows a second with N servers that take a second for 32 rows, against N times one."""
    rates: dict[int, float] = {}
    rows = folder / "rows.jsonl"
    shown = []
    for number in NUMBERS:
        write_rows(rows, 960 * number)  # 30 waves: one more is 3 %
        stats = folder / "stats"
        with servers(root, number, "--latency", str(LATENCY)) as running:
            more = ("--max-tokens", "8", "--stats", str(stats), "--in-flight", IN_FLIGHT)
            asked = command(rows, folder / "out.jsonl", running, *more)
            _, busy = watched(lambda asked=asked: answer(asked))  # type: ignore[misc]
        rates[number] = json.loads(stats.read_text())["rows_per_second"]
        fair = [number * rates[1]]
        name, peer = f"rows with {number} servers", f"{number} times one"
        goal = NO_GOAL if number == 1 else at_least(0.95)
        shown.append(Row(name, [rates[number]], peer, fair, "rows/s", goal, busy=busy))
    return shown


def cost(root: str, folder: Path) -> list[Row]:
    """The coordinator's own time for a row, and its memory with many rows and servers."""
    found = []
    for count, number in ((FEW, SERVERS), (MANY, SERVERS)):
        rows = folder / f"{count}.jsonl"
        write_rows(rows, count)
        # A few processes stand for many servers: by another name each is one to the coordinator.
        with servers(root, 4, "--latency", "0.5", "--host", "0.0.0.0") as running:
            named = [
                Running(one.process, one.port, host=f"127.0.{place}.{place + 1}")
                for place in range(number // len(running))
                for one in running
            ]
            found.append((count, *answer(command(rows, folder / "out.jsonl", named))))
    (few, few_seconds, few_memory), (many, seconds, memory) = found
    each = (seconds - few_seconds) / (many - few) * 1000
    what = f"{many:,} rows and {SERVERS} servers"
    return [
        Row(f"processor time a row, {what}", [each], "none", [0.0], "ms", at_most(5, "ours")),
        Row(
            f"peak memory, {what}", [memory / 1024], f"{few:,} rows", [few_memory / 1024], "MB",
            at_most(40, "more"),
        ),
    ]  # fmt: skip


def tokens(root: str, folder: Path) -> list[Row]:
    """The coordinator's own time for a row whose answer has many tokens."""
    few, many = 500, 4_000
    rows, seconds = folder / "rows.jsonl", {}
    with servers(root, 4, "--latency", "0.2") as running:
        for count in (few, many):
            write_rows(rows, count)
            asked = command(rows, folder / "out.jsonl", running, "--max-tokens", str(LONG))
            seconds[count], _ = answer(asked)
    each = (seconds[many] - seconds[few]) / (many - few) * 1000
    return [Row(f"processor time a row of {LONG} tokens", [each], "none", [0.0], "ms", NO_GOAL)]


def death(root: str, folder: Path) -> list[Row]:
    """Seconds from a kill -9 until the other server is asked for the rows of the dead one."""
    rows, output = folder / "rows.jsonl", folder / "out.jsonl"
    write_rows(rows, 60)
    seconds = []
    for _ in range(5):
        with servers(root, 2) as running:
            for one in running:
                one.hold(4)
            thread = threading.Thread(target=answer, args=(command(rows, output, running),))
            thread.start()
            while sum(one.tell() for one in running) < 62:
                time.sleep(0.01)  # until all rows are in flight
            before = running[0].tell()
            killed = time.monotonic()
            running[1].kill()
            running[0].release()
            while running[0].tell() == before:
                time.sleep(0.001)
            seconds.append(time.monotonic() - killed)
            thread.join()
    what = "from a server's death to its rows elsewhere"
    return [Row(what, seconds, "none", [0.0] * len(seconds), "s", at_most(1, "ours"))]


def chaos(root: str, folder: Path, rounds: int) -> list[Row]:
    """Rows lost, twice or changed where servers are killed at random, and come back."""
    rows, output, one = folder / "rows.jsonl", folder / "out.jsonl", folder / "one.jsonl"
    write_rows(rows, 400)
    with servers(root, 1) as running:
        answer(command(rows, one, running))
    expected = sorted(one.read_text().splitlines())
    broken = deaths = 0
    for number in range(rounds):
        dice = random.Random(number)
        with servers(root, dice.randint(4, 8), "--latency", "0.05", "--most", "16") as running:
            over = threading.Event()

            def harm(dice: random.Random = dice, over: threading.Event = over) -> None:
                nonlocal deaths
                while not over.wait(dice.uniform(0.3, 1.2)):
                    victim = dice.choice(running[1:])
                    what = dice.choice(("kill", "kill", "fail", "hang", "plain"))
                    if what == "kill" and victim.is_running():
                        victim.kill()
                        deaths += 1
                    elif not victim.is_running():
                        victim.start(root, "--latency", "0.05")
                    else:
                        with suppress(ConnectionError):  # it is only just starting
                            victim.tell(mode=what)

            thread = threading.Thread(target=harm)
            thread.start()
            try:
                answer(command(rows, output, running))
            finally:
                over.set()
                thread.join()
        broken += sorted(output.read_text().splitlines()) != expected
        print(f"{number + 1} of {rounds}: {deaths} deaths, {broken} broken", file=sys.stderr)
    return [
        Row(
            f"runs that lost, changed or doubled a row, of {rounds} with {deaths} deaths",
            [broken], "none", [0.0], "runs", at_most(0, "ours"),
        )
    ]  # fmt: skip


def main(asked: Asked) -> list[Row]:
    """The parts that are asked for, all if none is."""
    root = str(locate(resolve("demo")).directory)
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        for part in asked.chosen(PARTS) or PARTS:
            folder = Path(place)
            if part == "chaos":
                found += chaos(root, folder, asked.number(ROUNDS))
            else:
                found += {"speed": speed, "cost": cost, "tokens": tokens, "death": death}[part](
                    root, folder
                )
    return found


if __name__ == "__main__":
    run(main, words=PARTS, number="ROUNDS")
