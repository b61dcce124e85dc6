"""The words between client and server."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from tulu_cli.core import Constraint, Drafted, Request, Sampling, Text, TokenLogprob
from tulu_cli.errors import BadInput
from tulu_cli.protocol.completions import (
    cached_tokens,
    drafted_tokens,
    read_end_tokens,
    request_body,
    sampled_tokens,
    text_chunk,
)
from tulu_cli.protocol.sampling import read_sampling

FULL = Sampling(
    max_tokens=5,
    temperature=0.7,
    top_p=0.9,
    top_k=40,
    min_p=0.1,
    repetition_penalty=1.1,
    frequency_penalty=-2.0,
    presence_penalty=0.5,
    logit_bias={5: -100.0, 128255: 0.25},
    seed=2**62,
    n=3,
    logprobs=2,
    ignore_eos=True,
)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=1),
        FULL,
        replace(FULL, constraint=Constraint("json_schema", '{"type": "object"}')),
        replace(FULL, constraint=Constraint("regex", "a|ü")),
        replace(FULL, constraint=Constraint("choice", '["a", "ü"]')),
        Sampling(max_tokens=1, temperature=0.0),
    ],
    ids=str,
)
def test_sampling_arrives_as_it_was_sent(sampling: Sampling) -> None:
    body = json.loads(json.dumps(request_body(Request((1, 2), sampling, (2,)), "m")))
    assert body["prompt"] == [1, 2]
    assert body["stop_token_ids"] == ([] if sampling.ignore_eos else [2])
    assert read_sampling(body) == sampling


def test_stop_strings_stay_here_and_greedy_choices_are_one() -> None:
    sampling = Sampling(max_tokens=1, temperature=0.0, n=4, seed=9, stop=("a",))
    body = request_body(Request((1,), sampling), "m")
    assert "stop" not in body
    assert "seed" not in body
    assert body["n"] == 1


def test_what_others_send_is_understood() -> None:
    told = {"stop": "a", "max_tokens": 3, "top_k": -1, "temperature": 1}
    assert read_sampling(told) == Sampling(max_tokens=3, stop=("a",))
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    found = read_sampling({"response_format": schema, "stop": ["a", "b"]})
    assert found.constraint == Constraint("json_schema", '{"type": "object"}')
    assert found.stop == ("a", "b")
    assert read_sampling({"response_format": {"type": "json_object"}}).constraint


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"temperature": "hot"}, "temperature takes a number, not 'hot'"),
        ({"temperature": float("nan")}, "temperature takes 0 or more, not nan"),
        ({"n": True}, "n takes a whole number, not True"),
        ({"n": 10**9}, "n takes from 1 to 1,024, not 1000000000"),
        ({"max_tokens": 1.5}, "max_tokens takes a whole number, not 1.5"),
        ({"max_tokens": 0}, "max_tokens takes 1 or more, not 0"),
        ({"logprobs": 21}, "logprobs takes from 0 to 20, not 21"),
        ({"top_k": -2}, r"top_k takes 0 \(off\) or more, not -2"),
        ({"structured_outputs": [1]}, "structured_outputs must be an object"),
        ({"response_format": {"type": "json_schema"}}, "response_format must be text, json_object"),
        ({"echo": True}, "echo is not supported: leave it out"),
        ({"logit_bias": {"1": 101}}, "logit_bias takes an object of token ids, each with a number"),
        ({"logit_bias": {"the": 1}}, "logit_bias takes an object of token ids"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias takes an object of token ids"),
        ({"frequency_penalty": 2.1}, "frequency_penalty takes from -2 to 2, not 2.1"),
        ({"tools": [{}]}, "tools is not supported: leave it out"),
        ({"stop": 3}, "stop takes a text or a list of texts, not 3"),
        ({"stop": [3]}, "stop takes a text or a list of texts"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_and_not_dropped(
    body: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_sampling(body)


def test_end_tokens_are_token_ids() -> None:
    assert read_end_tokens({}, (2,)) == (2,)
    assert read_end_tokens({"stop_token_ids": []}, (2,)) == ()
    assert read_end_tokens({"stop_token_ids": [5, 6]}, (2,)) == (5, 6)
    for nonsense in ("ab", ["a"], [1.0], 3):
        with pytest.raises(BadInput, match="stop_token_ids takes a list of token ids"):
            read_end_tokens({"stop_token_ids": nonsense}, (2,))


def test_logprobs_come_back_exactly() -> None:
    entries = (
        TokenLogprob(7, -0.1234567890123456, ((7, -0.1234567890123456), (3, -2.5))),
        TokenLogprob(9, -math.inf, ((1, -0.5), (2, -0.75))),
    )
    chunk = json.loads(json.dumps(text_chunk(Text("ab", (7, 9), 0, entries))))
    found = list(sampled_tokens(chunk, 2))
    assert found == [(7, entries[0]), (9, entries[1])]
    assert [row[1].top for row in sampled_tokens(chunk, 0) if row[1]] == [(), ()]


def test_vllm_adds_the_chosen_token_to_the_alternatives() -> None:
    told = {
        "token_ids": [5],
        "logprobs": {
            "token_logprobs": [-9999.0],
            "top_logprobs": [{"token_id:5": -9999.0, "token_id:1": -0.1, "token_id:2": -3.0}],
        },
    }
    ((token, entry),) = sampled_tokens(told, 2)
    assert entry == TokenLogprob(5, -math.inf, ((1, -0.1), (2, -3.0)))
    assert token == 5


def test_a_server_may_say_nothing_of_its_cache() -> None:
    assert cached_tokens({}) == cached_tokens({"prompt_tokens_details": None}) == 0
    assert cached_tokens({"prompt_tokens_details": {"cached_tokens": 4}}) == 4


def test_vllm_tells_what_was_drafted_with_the_usage() -> None:
    """A chunk of vLLM 0.32, whose server was started with --per-request-spec-decode-metrics."""
    metrics = {
        "speculative_decoding": {
            "mean_acceptance_length": 4.4,
            "draft_acceptance_rate": 0.85,
            "acceptance_histogram": [0, 1, 0, 1, 3],
            "num_spec_steps": 5,
            "num_accepted_draft_tokens": 16,
            "num_draft_tokens": 20,
            "num_spec_tokens": 4,
        }
    }
    assert drafted_tokens({"choices": [], "metrics": metrics}) == Drafted(20, 16)
    assert drafted_tokens({"choices": [], "metrics": None}) is None
    assert drafted_tokens({"choices": [], "metrics": {"mean_itl_ms": 3.0}}) is None
