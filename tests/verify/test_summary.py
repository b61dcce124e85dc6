"""What many verdicts say together, against brute force and the statistics module."""

import json
import statistics
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.verify.records import Graded, Tally
from tulu_cli.verify.summary import Moments, Summary, pass_at


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(
    answers: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(answers)))
    draws = list(combinations(answers, k))
    expected = sum(map(any, draws)) / len(draws)
    assert pass_at(k, len(answers), sum(answers)) == pytest.approx(expected)


def test_pass_at_k_of_many_answers_is_exact() -> None:
    assert pass_at(1, 1024, 1) == pytest.approx(1 / 1024)
    assert pass_at(1000, 1024, 1) == pytest.approx(1000 / 1024)
    assert pass_at(512, 1024, 0) == 0


PAIRS = st.lists(st.tuples(st.integers(-10, 10), st.integers(0, 10**6)), min_size=2, max_size=30)


@given(PAIRS)
def test_moments(pairs: list[tuple[int, int]]) -> None:
    moments = Moments()
    for x, y in pairs:
        moments.add(x, y)
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    assert moments.mean() == pytest.approx(statistics.fmean(xs))
    assert moments.spread() == pytest.approx(statistics.stdev(xs), abs=1e-6)
    if len(set(xs)) > 1 and len(set(ys)) > 1:
        expected = statistics.correlation(xs, ys)
        assert moments.correlation() == pytest.approx(expected, abs=1e-6)
    else:
        assert moments.correlation() is None


def row(*rewards: float, rule: str = "math", length: int = 10) -> Tally:
    graded = (Graded(one == 10, one, one == -10, length + int(one)) for one in rewards)
    return Tally(rule, tuple(graded))


def test_a_summary_of_several_answers_a_row() -> None:
    summary = Summary()
    summary.add([row(10, 0, 0, 0), row(10, 10, 10, 10), row(0, 0, -10, -10), row(10, 0)])
    summary.add(
        [Tally("", error="line 5: no"), Tally("", error="line 6: no"), row(10, rule="gsm8k")]
    )
    values = summary.values()
    assert (values["rows"], values["errors"], summary.first_error) == (7, 2, "line 5: no")
    math = values["rules"]["math"]
    assert math["rows"] == 4
    assert (math["answers"], math["verified"], math["cut"]) == (14, 6, 2)
    assert math["pass"] == {"1": 0.4375, "2": 0.625, "4": 0.6667}
    assert math["pass_rows"] == {"1": 4, "2": 4, "4": 3}
    rewards = [10.0] * 6 + [0.0] * 6 + [-10.0] * 2
    assert math["reward_mean"] == round(statistics.fmean(rewards), 4)
    assert math["reward_spread"] == round(statistics.stdev(rewards), 4)
    assert (math["rows_of_several"], math["rows_without_variance"]) == (4, 1)
    assert math["length_reward_correlation"] == 1
    assert (math["length_verified"], math["length_not_verified"]) == (20, 7.5)
    assert values["rules"]["gsm8k"]["pass"] == {"1": 1}
    assert json.loads(json.dumps(values)) == values


def test_the_summary_for_people() -> None:
    summary = Summary()
    summary.add([row(10, 0), row(0, -10), row(10)])
    reward = "reward 2.00 ± 8.37 (mean, spread); 20.0% cut before the end token"
    assert summary.lines() == [
        "math: 3 rows, 5 answers, 2 verified; pass@1 50.0%, pass@2 50.0% of 2 rows",
        f"  {reward}; 0 of 2 rows without variance",
        "  length 20 characters verified, 7 not; correlation with the reward +1.00",
    ]


def test_a_summary_of_nothing() -> None:
    assert Summary().values() == {"rows": 0, "errors": 0, "rules": {}}
    assert Summary().lines() == []


def test_rewards_that_do_not_vary_have_no_correlation() -> None:
    summary = Summary()
    summary.add([row(20 / 3, length=at) for at in range(100)])
    assert summary.values()["rules"]["math"]["length_reward_correlation"] is None
    assert summary.values()["rules"]["math"]["reward_spread"] == 0
