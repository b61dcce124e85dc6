"""The answer as one JSON object."""

import io
import json
from math import inf, nan
from typing import Any

import pytest

from tulu_cli.core import Constraint, Done, FinishReason, Sampling, Text, TokenLogprob
from tulu_cli.render.collector import Collector
from tulu_cli.render.jsonl import JsonRenderer
from tulu_cli.streams import Streams

from .events import INFO, done, text

SAMPLING = Sampling(max_tokens=5, seed=7, stop=("\n",), constraint=Constraint("regex", "a+"))


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def rendered(*events: Text | Done, n: int = 1, cut: FinishReason = "interrupted") -> Any:
    streams = Streams.test()
    extra = {"prompt_token_ids": [4, 5], "prefill": None}
    renderer = JsonRenderer(
        streams, Collector(n, 10, 7), INFO, SAMPLING, {1: "a", 2: "b"}.get, extra
    )
    assert isinstance(streams.stdout, io.BytesIO)
    for event in events:
        renderer.show(event)
        assert streams.stdout.getvalue() == b"", "nothing is written before the end"
    renderer.finish(cut)
    lines = streams.stdout.getvalue().decode().splitlines(keepends=True)
    assert len(lines) == 1
    assert lines[0].endswith("}\n")
    return json.loads(lines[0], parse_constant=refuse)


def test_all_that_is_known() -> None:
    assert rendered(text("Tül", 1), text("u", 2), done()) == {
        "model": "org/name",
        "revision": "abc",
        "engine": {
            "name": "fake",
            "device": "cpu",
            "dtype": "float32",
            "max_model_len": 4096,
            "versions": {"torch": "2"},
        },
        "sampling": {
            "max_tokens": 5,
            "max_reasoning_tokens": None,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "logit_bias": {},
            "seed": 7,
            "stop": ["\n"],
            "n": 1,
            "logprobs": None,
            "ignore_eos": False,
            "constraint": {"kind": "regex", "source": "a+"},
        },
        "prompt_token_ids": [4, 5],
        "prefill": None,
        "choices": [
            {
                "index": 0,
                "text": "Tülu",
                "token_ids": [1, 2],
                "finish_reason": "stop",
                "stop": 2,
                "seed": 7,
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "cached_tokens": 0,
            "completion_tokens": 2,
            "total_tokens": 12,
        },
        "timings": {"queue": 0.5, "first_token": 1.0, "total": 3.0},
    }


def test_several_choices_are_counted_together() -> None:
    document = rendered(
        text("b", index=1),
        text("a"),
        done(3, timings=(0.0, 2.0, 3.0), cached=4),
        done(4, index=1, timings=(0.0, 1.5, 5.0)),
        n=2,
    )
    assert [choice["text"] for choice in document["choices"]] == ["a", "b"]
    assert [choice["seed"] for choice in document["choices"]] == [7, 8]
    assert document["usage"] == {
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 7,
        "total_tokens": 17,
    }
    assert document["timings"] == {"queue": 0.0, "first_token": 1.5, "total": 5.0}


def test_logprobs_where_they_were_asked_for() -> None:
    entry = TokenLogprob(1, -0.25, ((1, -0.25), (2, -inf), (9, nan)))
    (choice,) = rendered(text("a", logprobs=(entry,)), done())["choices"]
    assert choice["logprobs"] == [
        {
            "token_id": 1,
            "token": "a",
            "logprob": -0.25,
            "top": [
                {"token_id": 1, "token": "a", "logprob": -0.25},
                {"token_id": 2, "token": "b", "logprob": None},
                {"token_id": 9, "token": None, "logprob": None},
            ],
        }
    ]


@pytest.mark.parametrize("cut", ["interrupted", "error"])
def test_an_answer_that_was_cut(cut: FinishReason) -> None:
    document = rendered(text("par", 1, 2), cut=cut)
    (choice,) = document["choices"]
    assert (choice["text"], choice["finish_reason"], choice["stop"]) == ("par", cut, None)
    assert document["usage"]["completion_tokens"] == 2
    assert document["timings"]["total"] >= document["timings"]["first_token"] > 0


def test_line_ends_inside_the_text_do_not_end_the_line() -> None:
    odd = "a\nb\r\x0b\x85\u2028\x1b"
    document = rendered_bytes(text(odd), done())
    assert document.count(b"\n") == 1
    assert json.loads(document)["choices"][0]["text"] == odd


def rendered_bytes(*events: Text | Done) -> bytes:
    streams = Streams.test()
    renderer = JsonRenderer(streams, Collector(1, 10, 7), INFO, SAMPLING, str, {})
    for event in events:
        renderer.show(event)
    renderer.finish("interrupted")
    assert isinstance(streams.stdout, io.BytesIO)
    return streams.stdout.getvalue()
