"""Tokens a second with an adapter of rank 8 against the model without, on both engines.

    python -m tests.benchmarks.adapters [transformers|vllm ...] [--pairs N]

Each side is an engine of its own, which computes nothing while the other is measured.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.adapters import make_adapter
from tests.engines.loading import END, Asker, load_engine
from tulu_cli.core import Request, Sampling
from tulu_cli.models import locate, resolve
from tulu_cli.models.adapter import read_adapter

from .children import answer_rates, rates, take_stdout
from .pairs import alternate
from .report import Asked, Row, compare, run

ENGINES = ("transformers", "vllm")
CONTEXT = 1024
TOKENS = 48
ROWS = 16  # answered together
PAIRS = 8


def measured(engine: str, model: Path, adapter: Path | None) -> None:
    """Tokens a second of a batch, a line for each line on stdin."""
    descriptor = take_stdout()
    held = () if adapter is None else (read_adapter(adapter, adapter.name),)
    loaded = load_engine(engine, model, dtype="bfloat16", max_model_len=CONTEXT, adapters=held)
    asker = Asker(model)
    sampling = Sampling(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    name = held[0].name if held else None
    requests = [
        replace(Request(asker.ids(f"Tell me a story of {number}."), sampling, END), adapter=name)
        for number in range(ROWS)
    ]

    def tokens() -> int:
        answers = [answer for _, answer in loaded.batch(requests)]
        return sum(len(choices[0].token_ids) for choices in answers)  # type: ignore[index]

    answer_rates(descriptor, tokens, lambda: None)
    loaded.close()


def measure(engine: str, pairs: int) -> Row:
    """Both sides in turns."""
    model = locate(resolve("demo")).directory
    ours, peer = f"{engine}, {ROWS} rows at once, with an adapter of rank 8", "without"
    with tempfile.TemporaryDirectory() as folder:
        adapter = make_adapter(Path(folder) / "adapter", model)
        child = [sys.executable, "-m", "tests.benchmarks.adapters", "measured", engine, str(model)]
        with rates([*child, str(adapter)]) as adapted, rates(child) as alone:
            rounds = alternate({ours: adapted, peer: alone}, pairs)
    return compare(rounds, ours, ours, peer, "tokens/s")


def main(asked: Asked) -> list[Row]:
    """The engines that are named, or both."""
    return [measure(engine, asked.pairs) for engine in asked.chosen(ENGINES) or ENGINES]


if __name__ == "__main__":
    if sys.argv[1:2] == ["measured"]:
        engine, model, *adapter = sys.argv[2:]
        measured(engine, Path(model), Path(adapter[0]) if adapter else None)
    else:
        run(main, words=ENGINES, pairs=PAIRS)
