"""The rows that are verified: where an answer may stand, and what a row gets back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.errors import BadInput
from tulu_cli.verify.records import Judge, encode, tally
from tulu_cli.verify.rows import Row, read_row
from tulu_cli.verify.rules import Chooser
from tulu_cli.verify.verdict import Answer, Verdict, reward

LABELS = {"dataset": "gsm8k", "ground_truth": "5"}


def answers(**columns: Any) -> list[tuple[str, str | None]]:
    return [(one.text, one.finish_reason) for one in read_row(columns).answers]


def test_the_places_of_an_answer() -> None:
    assistant = {"role": "assistant", "content": "a"}
    asked = {"role": "user", "content": "q"}
    for place in ("response", "completion", "output", "text"):
        assert answers(**{place: "a"}) == [("a", None)]
        assert answers(**{place: "a", "finish_reason": "length"}) == [("a", "length")]
    assert answers(completion=[assistant]) == [("a", None)]
    assert answers(messages=[asked, assistant], finish_reason="stop") == [("a", "stop")]
    assert answers(messages=[asked], response="b") == [("b", None)]
    assert answers(responses=["a", "b"]) == [("a", None), ("b", None)]
    assert answers(completions=[[assistant], "b"], finish_reason=["stop", None]) == [
        ("a", "stop"),
        ("b", None),
    ]


def test_a_record_of_tulu_batch() -> None:
    columns = {"columns": LABELS, "line": 1, "id": None, "usage": {}}
    one = read_row({"text": "a", "finish_reason": "stop", **columns})
    assert one == Row((Answer("a", "stop"),), "5", "gsm8k")
    choices = [{"text": text, "finish_reason": "length", "seed": 1} for text in "ab"]
    several = read_row({"text": "a", "finish_reason": "length", "choices": choices, **columns})
    assert several == Row((Answer("a", "length"), Answer("b", "length")), "5", "gsm8k", True)


def test_a_line_of_openais_batch_output() -> None:
    choices = [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]
    body = {"response": {"status_code": 200, "body": {"choices": choices}}, "error": None}
    assert read_row(body).answers == (Answer("a", "stop"),)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (None, "must be a JSON object"),
        (7, "must be a JSON object"),
        ("text", "must be a JSON object"),
        ([{"response": "a"}], "it is an array"),
        ({}, "has no answer"),
        ({"response": None}, "has no answer"),
        ({"response": 7}, "it is a int"),
        ({"response": ["a", "b"]}, "it is a list"),
        ({"response": {"body": None}}, "list of answers"),
        ({"response": {}}, "list of answers"),
        ({"response": "a", "completion": "b"}, "response and completion"),
        ({"choices": []}, "list of answers"),
        ({"choices": "a"}, "list of answers"),
        ({"choices": [None]}, r"choices\[0\] must be a text, and it is null"),
        ({"choices": [{"text": 1}]}, r"choices\[0\]"),
        ({"choices": [{"message": {"content": None}}]}, "null"),
        ({"responses": ["a"], "finish_reason": ["stop", "stop"]}, "2 finish reasons"),
        ({"response": "a", "finish_reason": 3}, "finish_reason must be a text"),
        ({"messages": []}, "has no answer"),
        ({"messages": "a"}, "has no answer"),
        ({"messages": [None]}, "has no answer"),
        ({"messages": [{"role": "user", "content": "a"}]}, "has no answer"),
        ({"messages": [{"role": "assistant", "content": None}]}, "null"),
        ({"error": {"code": "x", "message": "too long"}}, "not answered: too long"),
        ({"error": "too long"}, "not answered: too long"),
    ],
    ids=repr,
)
def test_a_row_without_one_answer_is_an_error(row: Any, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        read_row(row)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "response",
                    "choices",
                    "text",
                    "messages",
                    "content",
                    "message",
                    "role",
                    "finish_reason",
                    "ground_truth",
                    "dataset",
                    "columns",
                    "error",
                    "body",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_every_row_gets_a_record(value: Any) -> None:
    record, counted = Judge(Chooser("gsm8k")).record(json.dumps(value).encode(), "line 7")
    again = tally(json.loads(encode(record)))
    assert again == counted
    assert (counted.error is None) == ("rule" in record)
    if counted.error:
        assert "line 7" in counted.error


def verified(row: dict[str, Any], rule: str = "auto") -> dict[str, Any]:
    return Judge(Chooser(rule)).record(json.dumps(row).encode(), "line 1")[0]


def test_a_row_comes_back_with_its_verdict() -> None:
    row = {"id": 3, "response": "It is 5.", **LABELS, "other": [1, None]}
    assert verified(row) == {
        **row,
        "rule": "gsm8k",
        "verified": True,
        "reward": 10,
        "extracted": "5",
        "why": "the last number is '5', and the label is '5'",
    }
    assert verified(verified(row)) == verified(row)  # older verdicts are replaced


def test_a_row_with_several_answers_has_a_verdict_for_each() -> None:
    row = {"responses": ["It is 5.", "It is 6.", "5"], "finish_reason": ["stop", "stop", "length"]}
    found = verified({**row, **LABELS})
    assert [one["reward"] for one in found["verdicts"]] == [10, 0, -10]
    assert [one["verified"] for one in found["verdicts"]] == [True, False, True]
    assert found["verdicts"][2]["why"].endswith("; without its end token (length)")
    assert "verified" not in found


def test_a_row_without_a_verdict_says_why_and_keeps_its_columns() -> None:
    row = {"response": "It is 5.", "dataset": "gsm8k", "id": 4}
    message = "line 1: the label must be a text or a number, and it is null."
    assert verified(row) == {**row, "error": {"code": "bad_input", "message": message}}


def test_the_label_may_have_another_name() -> None:
    judge = Judge(Chooser("gsm8k"), label="gold")
    record, _ = judge.record(b'{"response": "5", "gold": 5, "ground_truth": "6"}', "line 1")
    assert record["verified"] is True


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((None, 10), ("stop", 10), ("tool_calls", 10), ("length", -10), ("interrupted", -10)),
        *(("error", -10), ("content_filter", -10), ("", -10)),
    ],
)
def test_the_reward_of_an_answer_without_its_end(reason: str | None, expected: float) -> None:
    assert reward(Verdict.right(None, ""), Answer("x", reason)) == expected


def test_the_reward_of_a_part_is_that_part() -> None:
    assert reward(Verdict(False, 0.5, None, ""), Answer("x", "stop")) == 5
    assert reward(Verdict(False, 0.5, None, ""), Answer("x", "length")) == -10


@pytest.mark.parametrize(
    "record", [{}, {"rule": "x", "response": "a"}, {"error": "x"}, {"rule": 1}]
)
def test_what_is_not_a_record_cannot_be_gone_on_with(record: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        tally(record)
