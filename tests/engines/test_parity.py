"""Greedy and in float32, vLLM and transformers give the same tokens, or the difference is a tie."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS

from .loading import END, Asker
from .prompts import PROMPTS

TIE = 1e-3  # in logprob
TOKENS = 64


def answers(engine: str, directory: Path, prompts: list[tuple[int, ...]]) -> list[dict[str, Any]]:
    """Return the answers of one engine, run in a process of its own."""
    lines = [json.dumps({"ids": ids, "max_tokens": TOKENS, "logprobs": 2}) for ids in prompts]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.answer", engine, str(directory)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.vllm
def test_the_engines_agree_token_by_token(
    demo_directory: Path, asker: Asker, record_property: Any
) -> None:
    prompts = [asker.ids(text) for text in PROMPTS]
    vllm, transformers = (
        answers(engine, demo_directory, prompts) for engine in ("vllm", "transformers")
    )
    for found in (vllm, transformers):
        ended = [one for one in found if one["stop"] == END[0]]
        assert len(ended) > 2, "the model itself ends what it has to say"
        assert all(one["ids"].index(END[0]) == len(one["ids"]) - 1 for one in ended)
        assert not any("<|im_end|>" in one["text"] for one in ended)
    ties = 0
    for text, one, other in zip(PROMPTS, vllm, transformers, strict=True):
        place = first_difference(one["ids"], other["ids"])
        if place is None:
            continue
        ties += 1
        gap = margin(other["tops"][place])
        assert gap < TIE, f"{text!r}: token {place} differs, and not by a tie but by {gap}"
    record_property("ties", ties)
    print(f"parity: {len(PROMPTS) - ties} of {len(PROMPTS)} prompts equal, {ties} ties")


def first_difference(one: list[int], other: list[int]) -> int | None:
    """The first position at which two lists differ, or None where they are equal."""
    if one == other:
        return None
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (left, right) in pairs if left != right), min(len(one), len(other)))


def margin(top: dict[str, float]) -> float:
    """How much likelier the best token is than the second, as logprobs."""
    best, second = sorted(top.values(), reverse=True)
    return best - second
