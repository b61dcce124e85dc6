"""The contract of all engines, the real ones included."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from tests.program import once_within
from tulu_cli.core import Constraint, Done, Request, Sampling, Text, ThoughtFormat
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine
from tulu_cli.errors import BadInput, PromptTooLong, TuluError
from tulu_cli.request.constraint import check

from .loading import CONTEXT, END, Asker, usage_of

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "number": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["colour", "number"],
    "additionalProperties": False,
}


def test_the_pieces_add_up_to_what_was_generated(engine: Engine, asker: Asker) -> None:
    request = asker.request()
    events = list(engine.stream(request))
    pieces = [event for event in events if isinstance(event, Text)]
    ids = [token for piece in pieces for token in piece.token_ids]
    done = events[-1]
    assert isinstance(done, Done)
    assert "".join(piece.text for piece in pieces) == asker.tokenizer.decode(ids)
    assert usage_of(done).completion_tokens == len(ids) == 16
    assert usage_of(done).prompt_tokens == len(request.prompt_token_ids)
    assert done.finish_reason == "length"
    assert 0 <= done.timings.first_token <= done.timings.total


def test_greedy_is_the_same_twice(engine: Engine, asker: Asker) -> None:
    first, second = (collect(engine.stream(asker.request(max_tokens=24))) for _ in range(2))
    assert first[0].token_ids == second[0].token_ids


def ending(engine: Engine, asker: Asker) -> Request:
    """A request with an end token that its answer surely comes to."""
    request = asker.request(max_tokens=200)
    if engine.info.engine == "fake":  # it says its prompt, and ends it
        return request
    (whole,) = collect(engine.stream(asker.request(ignore_eos=True)))
    later = (token for token in whole.token_ids[5:] if token not in whole.token_ids[:5])
    return replace(request, stop_token_ids=(next(later),))


def test_the_end_token_ends_the_answer_and_is_counted(engine: Engine, asker: Asker) -> None:
    request = ending(engine, asker)
    (answer,) = collect(engine.stream(request))
    (end,) = request.stop_token_ids
    assert answer.done.finish_reason == "stop"
    assert answer.done.stop == end == answer.token_ids[-1]
    assert answer.token_ids.count(end) == 1
    assert usage_of(answer.done).completion_tokens == len(answer.token_ids) > 5
    assert answer.text == asker.tokenizer.decode(answer.token_ids[:-1])


def test_an_end_token_can_be_ignored(engine: Engine, asker: Asker) -> None:
    request = ending(engine, asker)
    (ended,) = collect(engine.stream(request))
    more = len(ended.token_ids) + 8
    sampling = replace(request.sampling, ignore_eos=True, max_tokens=more)
    (answer,) = collect(engine.stream(replace(request, sampling=sampling)))
    assert answer.done.finish_reason == "length"
    assert len(answer.token_ids) == more


def test_a_stop_string_ends_the_answer_and_never_shows(engine: Engine, asker: Asker) -> None:
    (whole,) = collect(engine.stream(asker.request(max_tokens=30)))
    words = whole.text.split()
    stop = f"{words[4]} {words[5]}"  # spans tokens
    events = list(engine.stream(asker.request(max_tokens=30, stop=("\0", stop))))
    (answer,) = collect(events)
    assert answer.done.finish_reason == "stop"
    assert answer.done.stop == stop
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert not any(stop in event.text for event in events if isinstance(event, Text))


def test_the_same_seed_gives_the_same_choices(engine: Engine, asker: Asker) -> None:
    request = asker.request(n=3, seed=7, temperature=1.0)
    first, second = collect(engine.stream(request)), collect(engine.stream(request))
    assert [choice.token_ids for choice in first] == [choice.token_ids for choice in second]
    assert [choice.done.seed for choice in first] == [7, 8, 9]
    assert [choice.done.index for choice in first] == [0, 1, 2]


def test_another_seed_gives_another_answer(real_engine: Engine, asker: Asker) -> None:
    answers = {
        collect(real_engine.stream(asker.request(seed=seed, temperature=1.0)))[0].token_ids
        for seed in range(4)
    }
    assert len(answers) == 4


def test_choices_differ_from_one_another(real_engine: Engine, asker: Asker) -> None:
    choices = collect(real_engine.stream(asker.request(n=4, seed=1, temperature=1.0)))
    assert len({choice.token_ids for choice in choices}) == 4


def test_greedy_choices_are_all_the_same(engine: Engine, asker: Asker) -> None:
    choices = collect(engine.stream(asker.request(n=2)))
    assert choices[0].token_ids == choices[1].token_ids
    assert len(choices) == 2


def test_logprobs_belong_to_the_tokens(real_engine: Engine, asker: Asker) -> None:
    (answer,) = collect(real_engine.stream(asker.request(logprobs=3)))
    assert [entry.token_id for entry in answer.logprobs] == list(answer.token_ids)
    for entry in answer.logprobs:
        assert len(entry.top) == 3
        assert entry.top[0][0] == entry.token_id
        assert entry.top[0][1] == pytest.approx(entry.logprob)
        assert [value for _, value in entry.top] == sorted(
            (value for _, value in entry.top), reverse=True
        )
        assert entry.logprob <= 0


def test_logprobs_are_those_of_the_model_not_of_the_sampling(
    real_engine: Engine, asker: Asker
) -> None:
    plain = collect(real_engine.stream(asker.request(max_tokens=1, logprobs=1)))[0].logprobs[0]
    warm = collect(
        real_engine.stream(asker.request(max_tokens=1, logprobs=1, temperature=0.01, top_k=1))
    )[0].logprobs[0]
    assert warm.token_id == plain.token_id
    assert warm.logprob == pytest.approx(plain.logprob, abs=1e-3)


def test_no_alternatives_can_be_asked_for(real_engine: Engine, asker: Asker) -> None:
    (answer,) = collect(real_engine.stream(asker.request(max_tokens=2, logprobs=0)))
    assert len(answer.logprobs) == 2
    assert all(entry.top == () for entry in answer.logprobs)


def test_top_k_one_is_greedy(real_engine: Engine, asker: Asker) -> None:
    greedy = collect(real_engine.stream(asker.request()))
    drawn = collect(real_engine.stream(asker.request(temperature=1.5, top_k=1, seed=3)))
    assert drawn[0].token_ids == greedy[0].token_ids


def test_a_tiny_top_p_and_a_full_min_p_are_greedy(real_engine: Engine, asker: Asker) -> None:
    greedy = collect(real_engine.stream(asker.request()))
    for name, value in (("top_p", 1e-6), ("min_p", 1.0)):
        request = asker.request(**{"temperature": 1.0, "seed": 3, name: value})
        drawn = collect(real_engine.stream(request))
        assert drawn[0].token_ids == greedy[0].token_ids


def test_a_repetition_penalty_changes_the_answer(real_engine: Engine, asker: Asker) -> None:
    plain = collect(real_engine.stream(asker.request(max_tokens=32)))
    punished = collect(real_engine.stream(asker.request(max_tokens=32, repetition_penalty=2.0)))
    assert len(set(punished[0].token_ids)) > len(set(plain[0].token_ids))


# The greedy answer with both of OpenAI's penalties and with biases: the same from each engine.
PENALIZED = {"frequency_penalty": 1.5, "presence_penalty": 0.5, "logit_bias": {260: 3.0, 282: -100}}
PENALIZED_IDS = (365, 339, 339, 29, 284, 28, 216, 30, *[15442] * 6, 619, 619)


def test_openais_penalties_and_a_bias_count_as_they_do_elsewhere(
    real_engine: Engine, asker: Asker
) -> None:
    (plain,) = collect(real_engine.stream(asker.request()))
    (answer,) = collect(real_engine.stream(asker.request(**PENALIZED)))
    assert 282 in plain.token_ids
    assert answer.token_ids == PENALIZED_IDS
    with pytest.raises(TuluError, match=r"logit_bias|out-of-vocab"):
        collect(real_engine.stream(asker.request(logit_bias={10**6: 1.0})))


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("json_schema", json.dumps(SCHEMA)),
        ("regex", "[0-9]{3}-[a-f]{2}"),
        ("choice", json.dumps(["Paris", "Rome ü", "x"])),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_structured_answer_satisfies_its_structure(
    real_engine: Engine, asker: Asker, kind: str, source: str, temperature: float
) -> None:
    constraint = Constraint(kind, source)  # type: ignore[arg-type]
    # So small a model would go on with the white space that JSON allows anywhere.
    bias = dict.fromkeys(asker.white_space, -100.0)
    request = asker.request(
        max_tokens=80, constraint=constraint, temperature=temperature, seed=5, n=2, logit_bias=bias
    )
    for answer in collect(real_engine.stream(request)):
        check(constraint, answer)
        assert answer.done.finish_reason == "stop"


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("regex", "(unclosed"),
        Constraint("json_schema", '{"type": "nonsense"}'),
    ],
)
def test_an_impossible_structure_is_refused(
    real_engine: Engine, asker: Asker, constraint: Constraint
) -> None:
    with pytest.raises(BadInput, match="cannot be used"):
        list(real_engine.stream(asker.request(constraint=constraint)))
    assert collect(real_engine.stream(asker.request(max_tokens=2)))


def test_closing_cancels_at_once_and_the_engine_goes_on(engine: Engine, asker: Asker) -> None:
    request = asker.request("Write a long story.", max_tokens=1500, ignore_eos=True)

    def seconds_to_close() -> float:
        with closing(engine.stream(request)) as events:  # type: ignore[type-var]
            assert [next(events) for _ in range(8)]
            started = time.perf_counter()
        return time.perf_counter() - started

    assert once_within(0.2, seconds_to_close)
    (answer,) = collect(engine.stream(asker.request("Hello", max_tokens=2)))
    assert len(answer.token_ids) == 2


def test_a_prompt_that_is_too_long_is_refused_and_the_engine_goes_on(
    engine: Engine, asker: Asker
) -> None:
    ids = asker.ids("word " * CONTEXT)
    with pytest.raises(PromptTooLong, match=f"{CONTEXT:,}"):
        list(engine.stream(Request(ids, Sampling(), END)))
    assert collect(engine.stream(asker.request(max_tokens=2)))


def test_an_answer_ends_at_the_context_length(real_engine: Engine, asker: Asker) -> None:
    ids = asker.ids("word " * (CONTEXT - 60))
    sampling = Sampling(temperature=0.0, ignore_eos=True)
    (answer,) = collect(real_engine.stream(Request(ids, sampling, END)))
    assert answer.done.finish_reason == "length"
    assert len(ids) + len(answer.token_ids) == CONTEXT


def test_characters_come_whole(real_engine: Engine, asker: Asker) -> None:
    text = "Repeat exactly: 😀🇫🇷👩‍👩‍👧 שלום 你好 ñandú 😀🇫🇷👩‍👩‍👧"
    request = asker.request(text, max_tokens=40, ignore_eos=True, temperature=1.0, seed=2)
    events = [event for event in real_engine.stream(request) if isinstance(event, Text)]
    # A half character would show as U+FFFD; only the very end may be cut in the middle of one.
    whole = asker.tokenizer.decode([token for event in events for token in event.token_ids])
    assert "".join(event.text for event in events) == whole


def test_a_second_turn_finds_the_first_in_the_cache(real_engine: Engine, asker: Asker) -> None:
    story = "Once there was a fox who lived near a river. " * 40
    first = Request(asker.ids(story), Sampling(temperature=0.0, max_tokens=8), END)
    (answer,) = collect(real_engine.stream(first))
    ids = asker.ids("And then?", story, answer.text)
    (second,) = collect(real_engine.stream(replace(first, prompt=ids)))
    assert usage_of(second.done).cached_tokens >= 256
    assert usage_of(second.done).prompt_tokens == len(ids)


def test_a_batch_gives_every_request_its_own_answer(engine: Engine, asker: Asker) -> None:
    texts = ("Hi", "Name a colour.", "Why is the sky blue? Explain it in detail, please.")
    requests = [asker.request(text, n=1 + i % 2) for i, text in enumerate(texts)]
    (told,) = collect(engine.stream(requests[2]))
    middle = told.text[len(told.text) // 2 :][:3]
    requests.append(asker.request(texts[2], stop=("no such text", middle), logprobs=2))
    requests.append(asker.request(texts[1], n=2, temperature=1.0, seed=3))
    too_long = Request(asker.ids("word " * CONTEXT), Sampling(), END)
    answers = dict(engine.batch([*requests, too_long]))
    assert isinstance(answers.pop(len(requests)), PromptTooLong)
    assert sorted(answers) == [*range(len(requests))]
    for position, request in enumerate(requests):
        choices = answers[position]
        assert isinstance(choices, list)
        assert len(choices) == request.sampling.n
        for choice, alone in zip(choices, collect(engine.stream(request)), strict=True):
            assert (choice.token_ids, choice.text) == (alone.token_ids, alone.text)
            assert (choice.done.finish_reason, choice.done.stop, choice.done.seed) == (
                alone.done.finish_reason,
                alone.done.stop,
                alone.done.seed,
            )
            assert [one.token_id for one in choice.logprobs] == [
                one.token_id for one in alone.logprobs
            ]
    stopped = answers[3]
    assert isinstance(stopped, list)
    assert (stopped[0].done.stop, len(stopped[0].logprobs)) == (middle, len(stopped[0].token_ids))


@pytest.mark.vllm
def test_a_warm_vllm_draws_answers_to_prompts_that_one_step_has_no_room_for(
    loaded_engines: Callable[[str], Engine], asker: Asker
) -> None:
    """vLLM would split one of the prompts, and forgets on a CPU how to draw behind a part."""
    texts = (f"{i} {'word ' * (CONTEXT - 60)}" for i in range(6))
    requests = [Request(asker.ids(text), Sampling(max_tokens=1, seed=7), END) for text in texts]
    answers = loaded_engines("warm vllm").batch(requests)
    assert sorted(position for position, told in answers if isinstance(told, list)) == [*range(6)]


def test_an_empty_batch_has_no_answers(engine: Engine) -> None:
    assert list(engine.batch([])) == []


def test_what_runs_is_said(engine: Engine) -> None:
    info = engine.info
    assert (info.model, info.device, info.max_model_len) == ("demo", "cpu", CONTEXT)
    assert info.engine == "fake" or (info.dtype == "float32" and info.versions["torch"])


def test_a_batch_that_is_left_makes_room_for_the_next(engine: Engine, asker: Asker) -> None:
    long = [asker.request(f"Count to {i}.", max_tokens=400, ignore_eos=True) for i in range(40)]
    with closing(engine.batch([asker.request("Hi", max_tokens=1), *long])) as answers:  # type: ignore[type-var]
        next(answers)
    short = [asker.request(text, max_tokens=2) for text in ("Hi", "Who?", "Why?")]
    assert sorted(position for position, _ in engine.batch(short)) == [0, 1, 2]


def test_a_thought_is_told_from_the_answer(engine: Engine, asker: Asker) -> None:
    """The demo does not think: an end of its thought that it surely writes stands for the sign."""
    (whole,) = collect(engine.stream(asker.request(max_tokens=30)))
    words = whole.text.split()
    sign = f"{words[4]} {words[5]}"  # spans tokens
    thought, _, answer = whole.text.partition(sign)
    thoughts = ThoughtFormat("<think>", sign, is_open=True)
    request = replace(asker.request(max_tokens=30), thoughts=thoughts)
    events = list(engine.stream(request))
    (choice,) = collect(events)
    assert (choice.reasoning, choice.text) == (thought, answer)
    assert choice.token_ids == whole.token_ids
    pieces = [event for event in events if isinstance(event, Text) and event.token_ids]
    assert [piece.channel for piece in pieces] == sorted(
        (piece.channel for piece in pieces), reverse=True
    )
    of_thought = [token for one in pieces if one.channel == "thought" for token in one.token_ids]
    assert usage_of(choice.done).reasoning_tokens == len(of_thought)
    assert asker.tokenizer.decode(of_thought).rstrip().startswith(f"{thought}{sign}".rstrip())
    ((_, batched),) = engine.batch([request])
    assert isinstance(batched, list)
    assert (batched[0].reasoning, batched[0].text) == (thought, answer)
    assert usage_of(batched[0].done).reasoning_tokens == len(of_thought)


def test_a_thought_that_never_ends_is_one(engine: Engine, asker: Asker) -> None:
    thoughts = ThoughtFormat("<think>", "</think>", is_open=True)
    request = replace(asker.request(max_tokens=8), thoughts=thoughts)
    (choice,) = collect(engine.stream(request))
    assert choice.text == ""
    assert choice.reasoning == asker.tokenizer.decode(choice.token_ids).strip("\n")
    assert choice.done.finish_reason == "length"
    assert usage_of(choice.done).reasoning_tokens == len(choice.token_ids) == 8
    closed = replace(thoughts, is_open=False)  # no sign of it: no thought
    (choice,) = collect(engine.stream(replace(request, thoughts=closed)))
    assert choice.reasoning is None
    assert choice.text == asker.tokenizer.decode(choice.token_ids)
    assert usage_of(choice.done).reasoning_tokens == 0


_FIRST_WORDS: dict[int, tuple[ThoughtFormat, str]] = {}


def first_words(engine: Engine, asker: Asker) -> tuple[ThoughtFormat, str]:
    """A format of thoughts whose end the demo surely writes, and the thought before it."""
    if id(engine) not in _FIRST_WORDS:
        (whole,) = collect(engine.stream(asker.request(max_tokens=12)))
        words = whole.text.split()
        sign = f"{words[3]} {words[4]}"  # spans tokens
        thoughts = ThoughtFormat("<think>", sign, is_open=True, closing=f" {sign}.\n")
        _FIRST_WORDS[id(engine)] = thoughts, whole.text.split(sign)[0]
    return _FIRST_WORDS[id(engine)]


def test_a_structure_binds_behind_the_thought(real_engine: Engine, asker: Asker) -> None:
    thoughts, thought = first_words(real_engine, asker)
    constraint = Constraint("choice", '["Paris", "Rome ü"]')
    request = replace(asker.request(constraint=constraint, n=2, logprobs=0), thoughts=thoughts)
    one = replace(request, sampling=replace(request.sampling, n=1))
    begun = replace(one, thoughts=replace(thoughts, is_open=False))
    closed = replace(one, thoughts=replace(thoughts, is_open=False, is_closed=True))
    batched = dict(real_engine.batch([request, begun, closed]))
    streamed = collect(real_engine.stream(request))
    for position, expected in ((0, thought), (1, None), (2, None)):
        choices = batched[position]
        assert isinstance(choices, list)
        for choice in choices if position else (*choices, *streamed):
            check(constraint, choice)
            assert (choice.reasoning, choice.done.finish_reason) == (expected, "stop")
            assert not choice.done.reasoning_truncated
            assert [entry.token_id for entry in choice.logprobs] == list(choice.token_ids)


def test_a_thought_is_closed_at_its_limit(real_engine: Engine, asker: Asker) -> None:
    thoughts, thought = first_words(real_engine, asker)
    closing = asker.tokenizer.encode_text(thoughts.closing)
    two, none = (
        replace(asker.request(max_tokens=10, max_reasoning_tokens=limit), thoughts=thoughts)
        for limit in (2, 0)
    )
    (streamed,) = collect(real_engine.stream(two))
    batched = dict(real_engine.batch([two, none]))
    for limit, choices in ((2, [streamed]), (2, batched[0]), (0, batched[1])):
        assert isinstance(choices, list)
        (choice,) = choices
        assert choice.token_ids[limit : limit + len(closing)] == closing
        assert choice.done.reasoning_truncated
        assert choice.reasoning is not None
        assert thought.strip().startswith(choice.reasoning.strip())
        assert bool(choice.reasoning.strip()) == bool(limit)
        usage = usage_of(choice.done)
        assert (usage.completion_tokens, choice.done.finish_reason) == (10, "length")
        assert usage.prompt_tokens == len(two.prompt_token_ids)
        assert limit < usage.reasoning_tokens <= limit + len(closing)
    assert isinstance(batched[0], list)
    assert batched[0][0].token_ids == streamed.token_ids


def test_what_is_wrong_with_a_structure_is_said_before_the_thought(
    real_engine: Engine, asker: Asker
) -> None:
    thoughts = ThoughtFormat("<think>", "</think>", is_open=True)
    request = asker.request(constraint=Constraint("regex", "(unclosed"))
    with pytest.raises(BadInput, match="cannot be used"):
        next(iter(real_engine.stream(replace(request, thoughts=thoughts))))
