"""Scores of given completions, by every engine, the real ones included."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from tulu_cli.core import Request, Sampling, Score, ScoreRequest
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine
from tulu_cli.errors import DoesNotFit, EngineError, PromptTooLong

from .loading import CONTEXT, END, Asker

NEAR = 1e-3  # in logprob, between two ways to compute the same in float32


def joined(context: tuple[int, ...], completion: tuple[int, ...]) -> ScoreRequest:
    return ScoreRequest(context + completion, len(context))


def scores(engine: Engine, requests: list[ScoreRequest]) -> list[Score]:
    found: dict[int, Any] = dict(engine.score(iter(requests)))
    assert sorted(found) == list(range(len(requests)))
    made = [found[position] for position in range(len(requests))]
    assert all(isinstance(one, Score) for one in made), made
    return made


def logprobs(score: Score) -> list[float]:
    return [token.logprob for token in score.tokens]


def test_a_greedy_answer_has_the_score_that_it_was_generated_with(
    engine: Engine, asker: Asker
) -> None:
    texts = ("Why is the sky blue?", "What is two and two? " * 4)
    asked, generated = [], []
    for text in texts:
        (answer,) = collect(engine.stream(asker.request(text, logprobs=1, max_tokens=6)))
        asked.append(joined(asker.ids(text), answer.token_ids))
        generated.append([token.logprob for token in answer.logprobs])
    for request, score, expected in zip(asked, scores(engine, asked), generated, strict=True):
        assert [token.token_id for token in score.tokens] == list(request.completion_token_ids)
        assert logprobs(score) == pytest.approx(expected, abs=NEAR)
        assert score.logprob == pytest.approx(sum(expected), abs=NEAR)
        assert score.greedy


def test_what_is_not_the_likeliest_is_not_greedy_and_says_what_is(
    engine: Engine, asker: Asker
) -> None:
    ids = asker.ids("Why is the sky blue?")
    (answer,) = collect(engine.stream(asker.request(max_tokens=3)))
    changed = (answer.token_ids[0], 13, answer.token_ids[2])
    assert changed != answer.token_ids
    (score,) = scores(engine, [joined(ids, changed)])
    assert not score.greedy
    assert score.tokens[1].top[0][0] == answer.token_ids[1]
    assert score.tokens[1].logprob < score.tokens[1].top[0][1]
    assert score.logprob == pytest.approx(sum(logprobs(score)))


def test_each_length_is_scored_as_alone_and_a_long_one_stops_no_other(
    engine: Engine, asker: Asker
) -> None:
    story = asker.tokenizer.encode_text("Once there was a fox. " * 8)
    asked = [
        joined(story[:context], story[context:total])
        for context, total in ((1, 2), (1, 20), (30, 31), (20, 40), (7, 9))
    ]
    too_long = joined(story[:1], tuple(story * 99)[: CONTEXT - 1])
    together = dict(engine.score([asked[0], too_long, *asked[1:]]))
    assert isinstance(together.pop(1), PromptTooLong)
    for request, (_, score) in zip(asked, sorted(together.items()), strict=True):
        assert isinstance(score, Score)
        (alone,) = scores(engine, [request])
        assert len(score.tokens) == len(request.token_ids) - request.context_tokens
        assert logprobs(score) == pytest.approx(logprobs(alone), abs=NEAR)
    assert list(engine.score([])) == []


@pytest.fixture
def transformers_engine(loaded_engines: Callable[[str], Engine]) -> Any:
    return loaded_engines("transformers")


def by_hand(model: Any, request: ScoreRequest) -> list[float]:
    """The logprobs by one forward pass over all tokens."""
    import torch

    with torch.inference_mode():
        table = model(torch.tensor([request.token_ids])).logits[0].float().log_softmax(-1)
    places = range(request.context_tokens, len(request.token_ids))
    return [float(table[place - 1, request.token_ids[place]]) for place in places]


def test_completions_rank_as_computed_by_hand(transformers_engine: Any, asker: Asker) -> None:
    ids = asker.ids("What is the capital of France?")
    completions = [
        (*asker.tokenizer.encode_text(text), *END)
        for text in ("Paris", "The capital of France is Paris.", "Rome", "A fox")
    ]
    asked = [joined(ids, completion) for completion in completions]
    model = transformers_engine.model
    expected = [by_hand(model, request) for request in asked]
    found = scores(transformers_engine, asked)
    for score, hand in zip(found, expected, strict=True):
        assert logprobs(score) == pytest.approx(hand, abs=NEAR)
    assert ranking([score.logprob for score in found]) == ranking([sum(each) for each in expected])


def ranking(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda index: -values[index])


def test_the_logits_of_a_long_completion_are_made_in_bounded_pieces(
    transformers_engine: Any, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = asker.tokenizer.encode_text("Once there was a fox. " * 6)
    asked = [joined(story[:5], story[5:]), joined(story[:9], story[9:20])]
    whole = scores(transformers_engine, asked)
    model = transformers_engine.model
    most = 2 * 8 * model.config.vocab_size
    monkeypatch.setattr("tulu_cli.engines.transformers.score._MOST_LOGITS", most)
    sizes = []
    hook = model.lm_head.register_forward_hook(lambda *told: sizes.append(told[2].numel()))
    try:
        pieces = scores(transformers_engine, asked)
    finally:
        hook.remove()
    assert max(sizes) <= most
    assert len(sizes) > len(story) // 8
    for one, other in zip(whole, pieces, strict=True):
        assert logprobs(one) == pytest.approx(logprobs(other), abs=NEAR)


def test_a_group_that_is_too_large_is_scored_in_halves(
    transformers_engine: Any, asker: Asker
) -> None:
    import torch

    ids = asker.ids("Hi")
    asked = [joined(ids, (token, *END)) for token in (100, 200, 300, 400, 500)]
    expected = scores(transformers_engine, asked)
    rows: list[int] = []

    def hold(_module: Any, _given: Any, options: Any) -> None:
        rows.append(len(options["input_ids"]))
        if rows[-1] > 2 or 500 in options["input_ids"]:
            raise torch.OutOfMemoryError("no room")

    model = transformers_engine.model
    hook = model.register_forward_pre_hook(hold, with_kwargs=True)
    try:
        found = dict(transformers_engine.score(asked))
    finally:
        hook.remove()
    assert max(rows) == 5
    assert isinstance(found.pop(4), DoesNotFit)
    for position, score in found.items():
        assert logprobs(score) == pytest.approx(logprobs(expected[position]), abs=NEAR)


def test_a_failure_inside_the_model_is_an_error_of_each(
    transformers_engine: Any, asker: Asker
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("kernel exploded")

    asked = [joined(asker.ids("Hi"), END)] * 2
    hook = transformers_engine.model.register_forward_pre_hook(fail)
    try:
        found = dict(transformers_engine.score(asked))
    finally:
        hook.remove()
    assert [type(error) for error in found.values()] == [EngineError] * 2
    assert scores(transformers_engine, asked)


@pytest.mark.vllm
def test_a_prompt_in_vllms_cache_is_scored_as_a_new_one(
    loaded_engines: Callable[[str], Engine], asker: Asker
) -> None:
    engine = loaded_engines("vllm")
    ids = asker.ids("Once there was a fox who lived near a river. " * 10)
    before = scores(engine, [joined(ids, (100, 200))])
    for _ in range(2):
        collect(engine.stream(Request(ids, Sampling(max_tokens=1, temperature=0.0), END)))
    after = scores(engine, [joined(ids, (100, 200))])
    assert logprobs(before[0]) == pytest.approx(logprobs(after[0]), abs=NEAR)
    assert math.isfinite(after[0].logprob)
