"""The vLLM engine against vLLM itself: cold start to the first token, and warm throughput.

    python -m tests.benchmarks.vllm_engine [warm|compiled|cold ...] [TIMES]

All parts without a word. TIMES is of the cold starts of each, of the rounds of a warm process, and
of those, 2 at most. `compiled` is LLM.generate as it comes, which compiles for minutes first.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.engines.loading import END, Asker, load_engine
from tests.engines.prompts import PROMPTS
from tulu_cli.core import Request, Sampling
from tulu_cli.models import locate, resolve

from .report import Goal, Row, at_least, print_rows
from .turns import said, tell

CONTEXT = 2048
# Without it vLLM on a CPU takes 92 % of the memory, and fails where that much is not free.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
TOKENS = 64
TIMES = 3


def prompts(asker: Asker) -> list[tuple[int, ...]]:
    """32 different prompts."""
    texts = [*PROMPTS, *(f"{text} Be brief." for text in PROMPTS)][:32]
    return [asker.ids(text) for text in texts]


def seconds_to_first_byte(command: list[str]) -> float:
    """From the start of a process to the first byte on its stdout."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.stdout.read()
    assert process.returncode == 0
    return seconds


def child(role: str, directory: Path, *more: str) -> list[str]:
    """This module as a process of its own: two engines never share one."""
    return [sys.executable, "-m", "tests.benchmarks.vllm_engine", role, str(directory), *more]


def vllm_cold(directory: Path) -> None:
    """vLLM as it comes: AsyncLLM with default settings, the first token's text on stdout."""
    import asyncio

    descriptor = os.dup(1)
    os.dup2(2, 1)
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    async def answer() -> None:
        args = AsyncEngineArgs(model=str(directory), max_model_len=CONTEXT)
        engine = AsyncLLM.from_engine_args(args)
        ids = list(Asker(directory).ids("Why is the sky blue?"))
        params = SamplingParams(temperature=0, max_tokens=8)
        async for output in engine.generate({"prompt_token_ids": ids}, params, "one"):
            os.write(descriptor, output.outputs[0].text.encode())
        engine.shutdown()

    asyncio.run(answer())


def vllm_warm(directory: Path, rounds: str, **settings: Any) -> None:
    """Tokens a second of vllm.LLM.generate, as JSON: a warm-up, then each round."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams

    llm = LLM(str(directory), max_model_len=CONTEXT, **settings)
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    inputs: Any = [{"prompt_token_ids": list(ids)} for ids in prompts(Asker(directory))]
    rates = []
    for _ in range(int(rounds) + 1):
        started = time.perf_counter()
        outputs = llm.generate(inputs, params, use_tqdm=False)
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        rates.append(tokens / (time.perf_counter() - started))
        llm.reset_prefix_cache()
    os.write(descriptor, json.dumps(rates[1:]).encode())


def ours_warm(directory: Path, rounds: str) -> None:
    """Tokens a second of the engine's batch, as JSON: a warm-up, then each round."""
    engine = load_engine("vllm", directory, dtype="auto", max_model_len=CONTEXT)
    sampling = Sampling(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    requests = [Request(ids, sampling, END) for ids in prompts(Asker(directory))]
    rates = []
    for _ in range(int(rounds) + 1):
        started = time.perf_counter()
        answers = [answer for _, answer in engine.batch(requests)]
        tokens = sum(len(choices[0].token_ids) for choices in answers)  # type: ignore[index]
        rates.append(tokens / (time.perf_counter() - started))
    engine.close()
    print(json.dumps(rates[1:]))


def rates(role: str, directory: Path, times: int, environment: dict[str, str]) -> list[float]:
    """The rates that a child process measures."""
    answer = said(child(role, directory, str(times)), os.environ | environment)
    measured: list[float] = json.loads(answer.splitlines()[-1])
    tell(f"{role}: {', '.join(f'{rate:.1f}' for rate in measured)} tokens/s")
    return measured


def cold(directory: Path, times: int) -> Row:
    """Process start to first token, in turns, after one run of the peer that fills its caches."""
    tulu = [sys.executable, "-m", "tulu_cli", "complete", "--engine", "vllm", "-m", str(directory)]
    tulu += ["--max-model-len", str(CONTEXT), "--greedy", "--max-tokens", "8", "Why is it blue?"]
    print(f"vLLM's very first start: {seconds_to_first_byte(child('vllm-cold', directory)):.1f} s")
    ours, peer = [], []
    for number in range(times):
        tell(f"cold start {number + 1} of {times}")
        ours.append(seconds_to_first_byte(tulu))
        peer.append(seconds_to_first_byte(child("vllm-cold", directory)))
    one, other = statistics.median(ours), statistics.median(peer)
    what = "vLLM, cold start to first token"
    return Row(what, one, "AsyncLLM as it comes", other, "s", at_least(2, "gain"))


def warm(directory: Path, times: int, *, same: bool, compiled: bool) -> list[Row]:
    """Throughput against LLM.generate in our settings, as it comes, or both; in turns."""
    settings = {"OMP_NUM_THREADS": str(os.cpu_count()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    settings |= {"TORCHDYNAMO_DISABLE": "1"}
    peers = {
        "vllm-warm-eager": ("the same settings", settings, at_least(0.97)),
        "vllm-warm": ("as it comes, compiled", {}, Goal()),
    }
    chosen = {role for role, wanted in zip(peers, (same, compiled), strict=True) if wanted}
    measured: dict[str, list[float]] = {role: [] for role in ("ours-warm", *chosen)}
    for _ in range(min(times, 2)):
        for role, values in measured.items():
            values += rates(role, directory, times, peers[role][1] if role in peers else {})
    what, ours = "vLLM engine, 32 prompts at once", statistics.median(measured["ours-warm"])
    return [
        Row(
            what, ours, f"LLM.generate, {name}", statistics.median(measured[role]), "tokens/s", goal
        )
        for role, (name, _, goal) in peers.items()
        if role in chosen
    ]


def main(words: list[str]) -> None:
    """The parts that were asked for, or all."""
    times = next((int(word) for word in words if word.isdigit()), TIMES)
    parts = {"warm", "compiled", "cold"} & set(words) or {"warm", "compiled", "cold"}
    directory = locate(resolve("demo")).directory
    rows: list[Row] = []
    if parts & {"warm", "compiled"}:
        rows += warm(directory, times, same="warm" in parts, compiled="compiled" in parts)
    if "cold" in parts:
        rows.append(cold(directory, times))
    print_rows(rows)


ROLES = {
    "vllm-cold": vllm_cold,
    "vllm-warm": vllm_warm,
    "vllm-warm-eager": partial(vllm_warm, enforce_eager=True),
    "ours-warm": ours_warm,
}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    else:
        main(sys.argv[1:])
