"""The vLLM engine against vLLM itself: cold start to the first token, and warm throughput.

    python -m tests.benchmarks.vllm_engine [warm|compiled|cold|drafts ...] [--pairs N]

All parts without a word. N is of the warm rounds, which two processes of each side share, as one
process may be faster than the next; and of the cold starts of each, 3 at most. `compiled` is
LLM.generate as it comes, which compiles for minutes first. `drafts` is one answer that repeats its
prompt, with n-grams as a draft and without, in bfloat16 and in float32.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.engines.loading import END, Asker, load_engine
from tests.engines.prompts import PROMPTS
from tulu_cli.core import Request, Sampling
from tulu_cli.engines.assemble import collect
from tulu_cli.models import locate, resolve
from tulu_cli.models.draft import Draft

from .children import answer_rates, rates, take_stdout
from .commands import tell
from .pairs import alternate, joined
from .report import NO_GOAL, Asked, Row, at_least, compare, run

CONTEXT = 2048
# Without it vLLM on a CPU takes 92 % of the memory, and fails where that much is not free.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
TOKENS = 64
PARTS = ("warm", "compiled", "cold", "drafts")
DTYPES = ("bfloat16", "float32")
PAIRS = 8
PROCESSES = 2  # of each side, one after the other
MOST_COLD = 3


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


def child(role: str, directory: Path) -> list[str]:
    """This module as a process of its own: two engines never share one."""
    return [sys.executable, "-m", "tests.benchmarks.vllm_engine", role, str(directory)]


def vllm_cold(directory: Path) -> None:
    """vLLM as it comes: AsyncLLM with default settings, the first token's text on stdout."""
    import asyncio

    descriptor = take_stdout()
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


def vllm_warm(directory: Path, **settings: Any) -> None:
    """Tokens a second of vllm.LLM.generate, a line for each line on stdin."""
    descriptor = take_stdout()
    from vllm import LLM, SamplingParams

    llm = LLM(str(directory), max_model_len=CONTEXT, **settings)
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    inputs: Any = [{"prompt_token_ids": list(ids)} for ids in prompts(Asker(directory))]

    def tokens() -> int:
        outputs = llm.generate(inputs, params, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    answer_rates(descriptor, tokens, lambda: llm.reset_prefix_cache())


def ours_warm(directory: Path) -> None:
    """Tokens a second of the engine's batch, a line for each line on stdin."""
    descriptor = take_stdout()
    engine = load_engine("vllm", directory, dtype="auto", max_model_len=CONTEXT)
    sampling = Sampling(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    requests = [Request(ids, sampling, END) for ids in prompts(Asker(directory))]

    def tokens() -> int:
        answers = [answer for _, answer in engine.batch(requests)]
        return sum(len(choices[0].token_ids) for choices in answers)  # type: ignore[index]

    answer_rates(descriptor, tokens, lambda: None)
    engine.close()


BOATS = ", ".join(
    f"{name} has a {colour} boat"
    for name, colour in zip(
        ("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi"),
        ("red", "blue", "green", "yellow", "white", "black", "brown", "grey"),
        strict=True,
    )
)


def ours_repeating(directory: Path, draft: Draft | None, dtype: str) -> None:
    """Tokens a second of one greedy answer that repeats its prompt, a line for each on stdin."""
    descriptor = take_stdout()
    engine = load_engine("vllm", directory, dtype=dtype, max_model_len=CONTEXT, draft=draft)
    ids = Asker(directory).ids(f"Repeat this list word for word: {BOATS}.")
    request = Request(ids, Sampling(temperature=0.0, max_tokens=TOKENS), END)

    def tokens() -> int:
        (answer,) = collect(engine.stream(request))
        usage = answer.done.usage
        tell(f"{answer.text!r} {usage.drafted if usage else None}")
        return len(answer.token_ids)

    answer_rates(descriptor, tokens, lambda: None)
    engine.close()


def cold(directory: Path, pairs: int) -> Row:
    """Process start to first token, after one run of the peer that fills its caches."""
    tulu = [sys.executable, "-m", "tulu_cli", "complete", "--engine", "vllm", "-m", str(directory)]
    tulu += ["--max-model-len", str(CONTEXT), "--greedy", "--max-tokens", "8", "Why is it blue?"]
    first, name = child("vllm-cold", directory), "AsyncLLM as it comes"
    print(f"vLLM's very first start: {seconds_to_first_byte(first):.1f} s", flush=True)

    def started(command: list[str]) -> float:
        tell(f"cold start of {' '.join(command[1:4])}")
        return seconds_to_first_byte(command)

    sides = {"ours": partial(started, tulu), name: partial(started, first)}
    rounds = alternate(sides, pairs, warm_up=0)
    what = "vLLM, cold start to first token"
    return compare(rounds, what, "ours", name, "s", at_least(2, "gain"))


def warm(directory: Path, pairs: int, *, same: bool, compiled: bool) -> list[Row]:
    """Throughput against LLM.generate in our settings, as it comes, or both."""
    settings = {"OMP_NUM_THREADS": str(os.cpu_count()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    settings |= {"TORCHDYNAMO_DISABLE": "1"}
    ours, eager, as_it_comes = (
        "vLLM engine, 32 prompts at once",
        "LLM.generate, the same settings",
        "LLM.generate, as it comes, compiled",
    )
    roles: dict[str, tuple[str, dict[str, str]]] = {ours: ("ours-warm", {})}
    goals = {eager: at_least(0.97), as_it_comes: NO_GOAL}
    if same:
        roles[eager] = ("vllm-warm-eager", settings)
    if compiled:
        roles[as_it_comes] = ("vllm-warm", {})
    parts = []
    for number in range(PROCESSES):
        some = range(number, pairs, PROCESSES)
        if not some:
            continue
        with ExitStack() as stack:
            sides = {
                name: stack.enter_context(rates(child(role, directory), environment))
                for name, (role, environment) in roles.items()
            }
            parts.append(alternate(sides, len(some)))
    rounds = joined(parts)
    return [compare(rounds, ours, ours, peer, "tokens/s", goals[peer]) for peer in [*roles][1:]]


def drafts(directory: Path, pairs: int, dtype: str) -> Row:
    """One answer at a time that repeats its prompt, with n-grams and without a draft."""
    ours = f"vLLM engine, {dtype}, an answer that repeats its prompt, --draft ngram"
    peer = "without a draft"
    with (
        rates(child(f"ngram-{dtype}", directory)) as drafting,
        rates(child(f"alone-{dtype}", directory)) as alone,
    ):
        rounds = alternate({ours: drafting, peer: alone}, pairs)
    return compare(rounds, ours, ours, peer, "tokens/s", NO_GOAL)


def main(asked: Asked) -> list[Row]:
    """The parts that were asked for, or all."""
    parts = asked.chosen(PARTS) or PARTS
    directory = locate(resolve("demo")).directory
    rows: list[Row] = []
    if "warm" in parts or "compiled" in parts:
        rows += warm(directory, asked.pairs, same="warm" in parts, compiled="compiled" in parts)
    if "cold" in parts:
        rows.append(cold(directory, min(asked.pairs, MOST_COLD)))
    if "drafts" in parts:
        rows += [drafts(directory, asked.pairs, dtype) for dtype in DTYPES]
    return rows


ROLES = {
    "vllm-cold": vllm_cold,
    "vllm-warm": vllm_warm,
    "vllm-warm-eager": partial(vllm_warm, enforce_eager=True),
    "ours-warm": ours_warm,
    **{f"ngram-{dtype}": partial(ours_repeating, draft=Draft(), dtype=dtype) for dtype in DTYPES},
    **{f"alone-{dtype}": partial(ours_repeating, draft=None, dtype=dtype) for dtype in DTYPES},
}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](Path(sys.argv[2]))
    else:
        run(main, words=PARTS, pairs=PAIRS)
