"""The transformers engine against `model.generate` of the same library, and its kept cache.

    python -m tests.benchmarks.transformers_engine [bfloat16|float32|long ...] [TOKENS] [--pairs N]

bfloat16, as the demo model comes, and TOKENS tokens to a short prompt unless words say otherwise;
`long` is a prompt of 1,500 tokens too, which takes minutes on a processor without bf16
instructions.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.engines.loading import END, Asker, load_engine
from tulu_cli.core import Request, Sampling
from tulu_cli.engines.assemble import collect
from tulu_cli.models import locate, resolve

from .pairs import alternate
from .report import Asked, Row, at_least, compare, run

TOKENS = 64
PAIRS = 12
SHORT, LONG = "Write a long story.", "Write a long story about a fox. " * 180
CONTEXT = 2048
DTYPES = ("bfloat16", "float32")


def generate_seconds(model: Any, ids: tuple[int, ...], tokens: int) -> float:
    """Seconds for so many greedy tokens by the library's own loop."""
    prompt = torch.tensor([ids])
    started = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
        )
    assert output.shape[1] == len(ids) + tokens
    return time.perf_counter() - started


def engine_seconds(engine: Any, ids: tuple[int, ...], tokens: int) -> float:
    """Seconds for the same by the engine, with nothing kept from the last time."""
    engine.forget()
    sampling = Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    started = time.perf_counter()
    (answer,) = collect(engine.stream(Request(ids, sampling, END)))
    assert len(answer.token_ids) == tokens
    return time.perf_counter() - started


def speed(model: Any, engine: Any, ids: tuple[int, ...], tokens: int, pairs: int) -> Row:
    """Tokens a second of both."""
    peer = "model.generate"
    sides = {
        "ours": partial(engine_seconds, engine, ids, tokens),
        peer: partial(generate_seconds, model, ids, tokens),
    }
    rates = alternate(sides, pairs).each(lambda seconds: tokens / seconds)
    what = f"transformers engine, {engine.info.dtype}, {tokens} tokens after {len(ids):,}"
    return compare(rates, what, "ours", peer, "tokens/s", at_least(1))


def second_turn(engine: Any, asker: Asker, pairs: int) -> Row:
    """Time to first token of the second turn of a conversation, with and without the kept cache."""
    story = "Once there was a fox who lived near a river. " * 130
    first = Request(asker.ids(story), Sampling(temperature=0.0, max_tokens=8), END)
    (answer,) = collect(engine.stream(first))
    ids = asker.ids("And then?", story, answer.text)
    second = Request(ids, Sampling(temperature=0.0, max_tokens=2), END)

    def first_token(*, kept: bool) -> float:
        engine.forget()
        if kept:
            collect(engine.stream(first))
        (again,) = collect(engine.stream(second))
        return float(again.done.timings.first_token)

    peer = "without the kept cache"
    sides = {"ours": partial(first_token, kept=True), peer: partial(first_token, kept=False)}
    rounds = alternate(sides, pairs)
    what = f"transformers engine, first token of a second turn, {len(ids):,} tokens"
    return compare(rounds, what, "ours", peer, "s", at_least(10, "gain"))


def main(asked: Asked) -> list[Row]:
    """What the words ask for."""
    directory: Path = locate(resolve("demo")).directory
    asker = Asker(directory)
    tokens = asked.number(TOKENS)
    texts = (SHORT, LONG) if "long" in asked.words else (SHORT,)
    rows = []
    for dtype in asked.chosen(DTYPES) or DTYPES[:1]:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
        engine = load_engine("transformers", directory, dtype=dtype, max_model_len=CONTEXT)
        rows += [speed(model, engine, asker.ids(text), tokens, asked.pairs) for text in texts]
        if dtype == "bfloat16":
            rows.append(second_turn(engine, asker, asked.pairs))
    return rows


if __name__ == "__main__":
    run(main, words=(*DTYPES, "long"), number="TOKENS", pairs=PAIRS)
