"""A draft on the real engine: the greedy answer stays, and each request tells what was drafted."""

import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tulu_cli.core import Completion, Request
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine
from tulu_cli.engines.vllm.settings import draft_arguments, serve_arguments
from tulu_cli.models.draft import Draft

from .loading import Asker, load_engine, usage_of

TOKENS = 3
TOKENS_IN_ALL = 12


def choices_of(engine: Engine, requests: list[Request]) -> list[Completion]:
    """The first choice of each answer, in order, of one batch."""
    answers = dict(engine.batch(requests))
    found = []
    for place in range(len(requests)):
        answer = answers[place]
        assert isinstance(answer, list), answer
        found.append(answer[0])
    return found


def test_what_vllm_is_told() -> None:
    assert draft_arguments(Draft(tokens=TOKENS))["speculative_config"] == {
        "method": "ngram",
        "num_speculative_tokens": TOKENS,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    }
    options = serve_arguments(draft_arguments(Draft("8b", Path("/8b"), TOKENS)))
    assert options == [
        "--per-request-spec-decode-metrics",
        "summary",
        "--speculative-config",
        '{"method": "draft_model", "model": "/8b", "num_speculative_tokens": 3}',
    ]


@pytest.mark.vllm
def test_greedy_answers_are_those_without_a_draft(
    loaded_engines: Callable[[str], Engine], small_directory: Path, asker: Asker
) -> None:
    """The model drafts for itself, so that nearly all is accepted: rounding may differ."""
    plain = loaded_engines("vllm")
    requests = [
        asker.request(max_tokens=TOKENS_IN_ALL),
        asker.request("Count from one to ten.", max_tokens=TOKENS_IN_ALL, logprobs=1),
        asker.request("Say it again.", max_tokens=TOKENS_IN_ALL, repetition_penalty=1.2),
    ]
    expected = choices_of(plain, requests)
    assert all(usage_of(one.done).drafted is None for one in expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draft = Draft("small", small_directory, TOKENS)
        drafting = load_engine("vllm", small_directory, draft=draft)
    with closing(drafting) as engine:
        streamed = collect(engine.stream(requests[0]))
        for one, whole in zip(
            (*choices_of(engine, requests), *streamed), (*expected, expected[0]), strict=True
        ):
            assert one.token_ids == whole.token_ids
            drafted = usage_of(one.done).drafted
            assert drafted is not None
            # The last check may accept more tokens than are still wanted.
            assert 0 < drafted.tokens < TOKENS_IN_ALL * TOKENS
            assert drafted.accepted <= min(drafted.tokens, TOKENS_IN_ALL + TOKENS)
        drafted = usage_of(streamed[0].done).drafted
        assert drafted is not None
        assert drafted.accepted > 0.8 * drafted.tokens
        stop = expected[0].text.split()[-1]
        (stopped,) = collect(engine.stream(asker.request(max_tokens=24, stop=(stop,))))
        assert stopped.done.stop == stop
        assert usage_of(stopped.done).drafted is None, "vLLM was stopped, and has told nothing"
