"""What a row gives to be scored, and what is said of it."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tulu_cli.batch.lines import Line, digest
from tulu_cli.batch.records import record, scores_object
from tulu_cli.batch.rows import BadRow, Row, read_row, read_template
from tulu_cli.batch.scoring import RowScorer, Scored
from tulu_cli.core import Message, Score, ScoreRequest, TokenLogprob
from tulu_cli.errors import EngineError, TuluError

USER, ANSWER = Message("user", "hi"), Message("assistant", "yes")
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


def row_of(value: Any, template: str | None = None) -> Row | BadRow:
    data = json.dumps(value).encode()
    made = None if template is None else read_template(template)
    return read_row(Line(7, data, digest(data)), "auto", made, scored=True)


@pytest.mark.parametrize(
    ("value", "prompt", "completions"),
    [
        ({"messages": CHAT}, (USER,), ["yes"]),
        (CHAT, (USER,), ["yes"]),
        ({"custom_id": "c", "body": {"messages": CHAT}}, (USER,), ["yes"]),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
            (USER,),
            ["yes"],
        ),
        ({"messages": CHAT[:1], "completion": "yes"}, (USER,), ["yes"]),
        ({"prompt": "hi", "completions": ["yes", "no"]}, (USER,), ["yes", "no"]),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, (USER,), ["yes"]),
        ({"prompt": CHAT[:1], "completion": "yes"}, (USER,), ["yes"]),
        ({"prompt": "hi", "completion": CHAT[1:]}, (USER,), ["yes"]),
        ({"prompt": CHAT[:1], "completions": [CHAT[1:], "no"]}, (USER,), ["yes", "no"]),
        ({"prompt": CHAT[:1], "completion": [*CHAT[1:], *CHAT]}, (USER, ANSWER, USER), ["yes"]),
        ({"text": "hi", "completion": " there"}, "hi", [" there"]),
        ({"text": "", "completions": ["a"]}, "", ["a"]),
    ],
    ids=str,
)
def test_each_shape_gives_its_answers(value: Any, prompt: Any, completions: list[str]) -> None:
    row = row_of(value)
    assert isinstance(row, Row), row.error
    assert row.prompt == prompt
    assert [one.content for one in row.completions] == completions
    assert row.several == ("completions" in value)
    assert row.columns == {}


def test_a_template_makes_the_prompt_and_other_columns_are_carried() -> None:
    row = row_of({"q": "hi", "completions": ["a", "b"], "gold": 1}, template="{q}")
    assert isinstance(row, Row)
    assert row.prompt == (USER,)
    assert row.columns == {"q": "hi", "gold": 1}
    assert [one.content for one in row.completions] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"prompt": "hi"}, "line 7 has nothing to score: it needs one of completion"),
        ({"messages": CHAT[:1]}, "nothing to score"),
        ({"prompt": "hi", "completion": "a", "completions": ["b"]}, "completion and completions"),
        ({"messages": CHAT, "completion": "a"}, "completion and an answer at its end"),
        ({"messages": CHAT[1:]}, "nothing before its answer"),
        ({"prompt": "hi", "completion": 3}, "completion must be a text"),
        ({"prompt": "hi", "completions": "a"}, "completions must be a list of texts"),
        ({"prompt": "hi", "completions": []}, "completions must be a list of texts"),
        ({"prompt": "hi", "completion": []}, "completion must end with a message of the assist"),
        ({"prompt": "hi", "completion": CHAT[:1]}, "completion must end with a message of the"),
        ({"prompt": "hi", "completions": [CHAT, "no"]}, "completions[0] must be one message"),
        ({"prompt": "hi", "completions": [CHAT[0]]}, "completions[0] must be a text"),
        ({"text": "hi", "completion": CHAT[1:]}, "completion must be a text"),
        ({"prompt": "hi", "completions": ["a", ""]}, "an empty completion"),
        ({"prompt": "hi", "completion": "a", "sampling": {"seed": 1}}, "sets seed, which is for"),
        ({"custom_id": "c", "body": {"messages": CHAT, "max_tokens": 5}}, "sets max_tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_scored_says_why_and_where(value: Any, said: str) -> None:
    row = row_of(value)
    assert isinstance(row, BadRow)
    assert "line 7" in str(row.error)
    assert said in str(row.error)


def score_of(*logprobs: float) -> Score:
    return Score(tuple(TokenLogprob(1, value, ((2, -0.5),)) for value in logprobs))


def test_the_best_is_named_by_each_measure() -> None:
    texts = ("no", "ten words", "y", "yes or no")
    row = Row(
        1, 1, "x", completions=tuple(Message("assistant", text) for text in texts), several=True
    )
    scores = (score_of(-2, -1), score_of(-1, -1, -1.5), score_of(-math.inf), score_of(-2, -1))
    made = scores_object(row, scores)
    assert made["best"] == {"logprob": 0, "per_token": 1, "per_character": 3}
    assert made["completions"][1] == {
        "logprob": -3.5,
        "per_token": -3.5 / 3,
        "per_character": -3.5 / 9,
        "greedy": False,
        "tokens": 3,
        "token_logprobs": [-1, -1, -1.5],
    }
    assert made["completions"][2]["logprob"] is None
    assert json.dumps(made, allow_nan=False)


def test_a_record_of_one_completion_has_its_score_and_the_tokens() -> None:
    row = Row(3, 1, "x", "r", {"gold": 1}, completions=(ANSWER,))
    made = record(row, Scored((score_of(-0.5, -0.25),), 4))
    assert (made["line"], made["id"], made["columns"]) == (3, "r", {"gold": 1})
    assert (made["logprob"], made["per_token"], made["per_character"]) == (-0.75, -0.375, -0.25)
    assert made["greedy"] is True
    assert made["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


class Backwards:
    """Scores three at a time, the last first; the token 13 fails. A score is the token's own id."""

    def __init__(self) -> None:
        self.is_closed = False

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        try:
            waiting: list[tuple[int, int]] = []
            for position, request in enumerate(requests):
                waiting.append((position, request.token_ids[-1]))
                if len(waiting) == 3:
                    yield from self._answers(waiting)
            yield from self._answers(waiting)
        finally:
            self.is_closed = True

    def _answers(self, waiting: list[tuple[int, int]]) -> Iterator[tuple[int, Score | TuluError]]:
        while waiting:
            position, token = waiting.pop()
            yield position, EngineError("no") if token == 13 else score_of(float(token))


def asked(*tokens: int) -> list[ScoreRequest]:
    return [ScoreRequest((1, 2, token), 2) for token in tokens]


def test_a_rows_scores_come_together_in_their_order_and_one_failure_is_the_rows() -> None:
    rows = [asked(1, 2), asked(3, 13, 4), asked(5), asked(6, 7, 8, 9)]
    answers = dict(RowScorer(Backwards()).batch(iter(rows)))
    assert sorted(answers) == [0, 1, 2, 3]
    assert isinstance(answers.pop(1), EngineError)
    found = [
        [score.logprob for score in answer.scores]
        for _, answer in sorted(answers.items())
        if isinstance(answer, Scored)
    ]
    assert found == [[1, 2], [5], [6, 7, 8, 9]]


def test_whoever_leaves_closes_the_engine() -> None:
    engine = Backwards()
    answers = RowScorer(engine).batch(iter([asked(1, 2, 3), asked(4)]))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert engine.is_closed
