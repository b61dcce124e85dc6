"""Intervals cover what they promise, by simulation; and differences of pairs are what they are."""

import random
from collections.abc import Callable
from math import gamma

import pytest

from tulu_cli.statistics import difference, estimate, mcnemar, rows_for_a_point, wilson
from tulu_cli.verify.summary import pass_at

Sample = Callable[[random.Random], tuple[list[float], list[str]]]


@pytest.mark.parametrize(
    ("value", "n", "low", "high"),
    # Of an independent implementation, statsmodels' proportion_confint(method="wilson").
    [(0.9, 10, 0.5958, 0.9821), (0.5, 100, 0.4038, 0.5962), (0, 20, 0, 0.1611), (1, 2, 0.3424, 1)],
)
def test_wilson(value: float, n: int, low: float, high: float) -> None:
    assert wilson(value, n) == pytest.approx((low, high), abs=1e-4)


def coverage(sample: Sample, truth: float, tries: int, options: dict[str, bool]) -> float:
    """The share of samples whose interval holds the truth."""
    chance = random.Random(7)
    covered = 0
    for _ in range(tries):
        scores, groups = sample(chance)
        made = estimate(scores, groups, **options)
        covered += made.low <= truth <= made.high
    return covered / tries


def plain(p: float, n: int) -> Sample:
    """Rows that are right with a probability."""
    return lambda chance: ([float(chance.random() < p) for _ in range(n)], [""] * n)


def subjects(chance: random.Random) -> tuple[list[float], list[str]]:
    """Rows of seven subjects of different sizes, each with a probability of its own."""
    shares = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.65)
    groups = [str(at) for at, size in enumerate((60, 24, 24, 45, 27, 44, 27)) for _ in range(size)]
    return [float(chance.random() < shares[int(group)]) for group in groups], groups


def passages(chance: random.Random) -> tuple[list[float], list[str]]:
    """Rows with partial scores, whose passage makes all of its questions easy or hard."""
    scores, groups = [], []
    for passage in range(200):
        easy = chance.betavariate(1, 0.6)
        for _ in range(chance.randint(1, 4)):
            right = chance.random() < easy
            scores.append(1.0 if right else chance.choice((0.0, 0.0, 0.0, 0.25)))
            groups.append(str(passage))
    return scores, groups


def problems(chance: random.Random) -> tuple[list[float], list[str]]:
    """The pass@10 of problems that are solved with probabilities of their own."""
    scores = []
    for _ in range(164):
        easy = chance.betavariate(0.8, 0.4)
        scores.append(pass_at(10, 20, sum(chance.random() < easy for _ in range(20))))
    return scores, [""] * 164


# Of each problem pass@10 estimates 1 - (1 - p)^10 without bias; this is its mean for that beta.
PROBLEMS_TRUTH = 1 - gamma(0.4 + 10) * gamma(0.8 + 0.4) / (gamma(0.8 + 0.4 + 10) * gamma(0.4))


@pytest.mark.parametrize(
    ("sample", "truth", "tries", "options"),
    [
        (plain(0.876, 1319), 0.876, 1500, {}),  # the card's GSM8K
        (plain(0.435, 200), 0.435, 3000, {}),
        (subjects, 3.05 / 7, 2000, {"is_macro": True}),
        (passages, 0.625 + 0.375 / 16, 1500, {"is_clustered": True}),
        (problems, PROBLEMS_TRUTH, 1000, {}),
    ],
    ids=["all of GSM8K", "200 rows", "subjects", "passages", "pass@10"],
)
def test_an_interval_covers_the_truth_as_often_as_it_says(
    sample: Sample, truth: float, tries: int, options: dict[str, bool]
) -> None:
    # Of the 95 %, one point to each side, and two standard errors of so many tries.
    reach = 0.01 + 2 * (0.95 * 0.05 / tries) ** 0.5
    assert coverage(sample, truth, tries, options) == pytest.approx(0.95, abs=reach)


def test_rows_of_a_passage_are_not_taken_for_independent() -> None:
    scores, groups = passages(random.Random(1))
    apart, together = estimate(scores, groups), estimate(scores, groups, is_clustered=True)
    assert together.high - together.low > 1.2 * (apart.high - apart.low)


def test_groups_are_averaged_and_not_rows() -> None:
    made = estimate([1, 1, 1, 0], ["a", "a", "a", "b"], is_macro=True)
    assert made.value == 0.5
    assert made.low < 0.2


@pytest.mark.parametrize("options", [{}, {"is_macro": True}, {"is_clustered": True}])
def test_an_interval_is_never_empty(options: dict[str, bool]) -> None:
    for score in (0.0, 0.5, 1.0):
        made = estimate([score] * 4, ["a", "a", "b", "b"], **options)
        assert made.high - made.low > 0.3
        assert made.low <= made.value <= made.high


def test_how_many_rows_see_a_point() -> None:
    made = estimate(*plain(0.5, 1000)(random.Random(1)))
    assert rows_for_a_point(made) == pytest.approx(9604, rel=0.01)


@pytest.mark.parametrize(
    ("won", "lost", "p"), [(0, 0, 1), (1, 0, 1), (5, 0, 0.0625), (6, 0, 0.03125), (10, 2, 0.0386)]
)
def test_mcnemar(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == mcnemar(lost, won) == pytest.approx(p, abs=1e-4)


def test_a_difference_of_pairs_is_sharper_than_two_intervals() -> None:
    chance = random.Random(3)
    first = [float(chance.random() < 0.5) for _ in range(1000)]
    second = [1.0 if chance.random() < 0.06 else score for score in first]
    made = difference(first, second, [""] * 1000)
    assert (made.method, made.lost) == ("McNemar", 0)
    assert made.value == made.won / 1000
    assert not made.is_tied
    assert made.error < 0.01 < estimate(first, [""] * 1000).error


def test_chance_is_a_tie() -> None:
    chance = random.Random(4)
    first, second = (plain(0.5, 400)(chance)[0] for _ in range(2))
    assert difference(first, second, [""] * 400).is_tied
    assert difference(first, first, [""] * 400).p == 1


def test_how_often_a_true_tie_is_called_one() -> None:
    chance = random.Random(5)
    tied = 0
    for _ in range(600):
        (first, groups), (second, _) = subjects(chance), subjects(chance)
        tied += difference(first, second, groups, is_macro=True).is_tied
    assert tied / 600 == pytest.approx(0.95, abs=0.03)


def test_partial_scores_and_groups_have_the_normal_of_pairs() -> None:
    made = difference([0.2, 0.4, 0.0], [0.4, 0.6, 0.3], ["a", "a", "b"], is_macro=True)
    assert made.value == pytest.approx((0.2 + 0.3) / 2)
    assert (made.method, made.won, made.lost) == ("paired normal", 3, 0)
    clustered = difference([0.0, 0.0], [1.0, 0.5], ["a", "a"], is_clustered=True)
    assert clustered.error == 0, "one cluster alone does not tell"
