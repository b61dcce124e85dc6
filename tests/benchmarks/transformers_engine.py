"""The transformers engine against `model.generate` of the same library, and its kept cache."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.engines.loading import END, Asker, load_engine
from tulu_cli.core import Request, Sampling
from tulu_cli.engines.assemble import collect
from tulu_cli.models import locate, resolve

from .report import Row, print_rows

TOKENS = 128
ROUNDS = 3


def generate_seconds(model: Any, ids: tuple[int, ...]) -> float:
    """Seconds for TOKENS greedy tokens by the library's own loop."""
    prompt = torch.tensor([ids])
    started = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
        )
    assert output.shape[1] == len(ids) + TOKENS
    return time.perf_counter() - started


def engine_seconds(engine: Any, ids: tuple[int, ...]) -> float:
    """Seconds for the same by the engine, with nothing kept from the last time."""
    engine._kept.clear()
    sampling = Sampling(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    started = time.perf_counter()
    (answer,) = collect(engine.stream(Request(ids, sampling, END)))
    assert len(answer.token_ids) == TOKENS
    return time.perf_counter() - started


def speed(model: Any, engine: Any, ids: tuple[int, ...], dtype: str) -> Row:
    """Tokens a second of both, in turns."""
    peer, ours = [], []
    for _ in range(ROUNDS):
        peer.append(TOKENS / generate_seconds(model, ids))
        ours.append(TOKENS / engine_seconds(engine, ids))
    one, other = statistics.median(ours), statistics.median(peer)
    what = f"engine / generate, {dtype}, prompt of {len(ids):,}"
    return Row(what, one, other, "tokens/s", one / other, ">= 1.0")


def second_turn(engine: Any, asker: Asker) -> Row:
    """Time to first token of the second turn of a conversation, with and without the kept cache."""
    story = "Once there was a fox who lived near a river. " * 130
    first = Request(asker.ids(story), Sampling(temperature=0.0, max_tokens=8), END)
    kept, cold = [], []
    for _ in range(ROUNDS):
        (answer,) = collect(engine.stream(first))
        ids = asker.ids("And then?", story, answer.text)
        second = Request(ids, Sampling(temperature=0.0, max_tokens=2), END)
        (warm,) = collect(engine.stream(second))
        kept.append(warm.done.timings.first_token)
        engine._kept.clear()
        (again,) = collect(engine.stream(second))
        cold.append(again.done.timings.first_token)
    ours, peer = statistics.median(kept), statistics.median(cold)
    what = f"second turn of {len(ids):,} tokens, cold / kept"
    return Row(what, ours, peer, "s", peer / ours, ">= 10")


def main() -> None:
    """Both, in bf16 as the demo model comes and in float32."""
    directory: Path = locate(resolve("demo")).directory
    asker = Asker(directory)
    rows = []
    for dtype in ("bfloat16", "float32"):
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
        engine = load_engine("transformers", directory, dtype=dtype)
        texts = ("Write a long story.", "Write a long story about a fox. " * 180)
        rows += [speed(model, engine, asker.ids(text), dtype) for text in texts]
        if dtype == "bfloat16":
            rows.append(second_turn(engine, asker))
    print_rows(rows)


if __name__ == "__main__":
    main()
