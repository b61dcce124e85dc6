"""The words between client and server about scores, and our server's answers over its socket."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.warming import order_of, runtime
from tulu_cli.core import Score, ScoreRequest, TokenLogprob
from tulu_cli.errors import BadInput, EngineError
from tulu_cli.models import no_progress
from tulu_cli.prompt import Tokenizer
from tulu_cli.protocol.scores import read_score, read_score_request, score_body, score_choice
from tulu_cli.warm import starter

from .test_app import ask, post

REQUEST = ScoreRequest((5, 6, 7, 8), 2)
SCORE = Score(
    (TokenLogprob(7, -math.inf, ((9, -0.25),)), TokenLogprob(8, -0.5, ((8, -0.5),))),
)


@pytest.fixture(scope="module")
def socket(demo_directory: Path) -> Iterator[Path]:
    """Where a fake engine listens."""
    with runtime():
        yield starter.start(order_of("fake", demo_directory), no_progress).socket


def test_a_score_goes_over_the_wire_unchanged() -> None:
    body = json.loads(json.dumps(score_body(REQUEST, "m")))
    assert (body["max_tokens"], body["prompt_logprobs"]) == (1, 1)
    assert read_score_request(body, tuple(body["prompt"])) == REQUEST
    told = json.loads(json.dumps({"choices": [score_choice(REQUEST, SCORE, 1)]}, allow_nan=False))
    assert told["choices"][0]["prompt_logprobs"][:2] == [None, None]
    assert read_score(REQUEST, told) == SCORE


def test_vllms_tables_are_read_and_of_a_tie_it_is_the_given_token() -> None:
    given = {"logprob": -1.0, "rank": 2, "decoded_token": "x"}
    best = {"logprob": -1.0, "rank": 1, "decoded_token": "y"}
    tables = [None, {"6": given}, {"9": best, "7": given}, {"8": given, "9": best | {"logprob": 0}}]
    score = read_score(REQUEST, {"choices": [{"prompt_logprobs": tables}]})
    assert [token.top for token in score.tokens] == [((7, -1.0),), ((9, 0.0),)]
    assert not score.greedy


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"choices": []},
        {"choices": [{"text": ""}]},
        {"choices": [{"prompt_logprobs": None}]},
        {"choices": [{"prompt_logprobs": [None, None, {"7": {"logprob": 0}}]}]},
        {"choices": [{"prompt_logprobs": [None, None, None, None]}]},
        {"choices": [{"prompt_logprobs": [None, None, {"1": {"logprob": 0}}, {"8": {}}]}]},
    ],
    ids=str,
)
def test_an_answer_without_scores_is_one_sentence(told: Any) -> None:
    with pytest.raises(EngineError, match="does not say how likely a prompt is"):
        read_score(REQUEST, told)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt_logprobs": 21}, "prompt_logprobs takes a whole number from 0 to 20"),
        ({"prompt_logprobs": True}, "prompt_logprobs takes a whole number"),
        ({"max_tokens": 5}, "max_tokens does not go with"),
        ({"stream": True}, "stream does not go with"),
        ({"n": 2}, "n does not go with"),
        ({"echo": True}, "echo does not go with"),
        ({"context_tokens": 4}, "can be 1 to 3"),
        ({"context_tokens": 0}, "can be 1 to 3"),
        ({"context_tokens": "2"}, "can be 1 to 3"),
    ],
    ids=str,
)
def test_what_is_no_request_for_a_score_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_score_request(score_body(REQUEST, "m") | changes, REQUEST.token_ids)


def test_our_server_scores_a_prompt_as_vllm_does(socket: Path, demo_directory: Path) -> None:
    ids = Tokenizer.load(demo_directory).encode_raw("one one three")
    answer = ask(socket, prompt="one one three", prompt_logprobs=1, max_tokens=1)
    (choice,) = answer["choices"]
    first, *tables = choice["prompt_logprobs"]
    assert first is None
    assert [next(iter(table)) for table in tables] == [str(token) for token in ids[1:]]
    assert (choice["text"], choice["finish_reason"]) == ("", "length")
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    (choice,) = ask(socket, prompt="one one three", prompt_logprobs=0)["choices"]
    assert [len(table) for table in choice["prompt_logprobs"][1:]] == [1, 1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "one"}, "prompt of 1 tokens"),
        ({"prompt": "a b", "prompt_logprobs": -1}, "takes a whole number from 0 to 20"),
        ({"prompt": "word " * 3000}, "The prompt with its completion has"),
        ({"prompt": []}, "prompt must be"),
        ({"prompt": ["a b", "c d"]}, "prompt must be one prompt where"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_odd_request_is_refused_and_the_next_one_answered(
    socket: Path, body: dict[str, Any], said: str
) -> None:
    status, text = post(socket, "/v1/completions", {"prompt_logprobs": 1, **body})
    assert status == 400
    assert said in json.loads(text)["error"]["message"]
    assert ask(socket, prompt="x y", prompt_logprobs=1)["choices"]
    assert json.loads(get_load(socket))["server_load"] == 0


def get_load(socket: Path) -> str:
    from tulu_cli.warm.unix_http import get

    return get(socket, "/load")[1].decode()
