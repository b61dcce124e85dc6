"""Intervals, and when two figures differ: pure arithmetic over the scores of rows.

Every interval is Wilson's. Where scores are not 0 or 1 alone, where subjects are averaged, and
where rows of a group depend on one another, it is Wilson's of as many rows of 0 or 1 as would have
the same standard error: near 0 and 1 the normal interval is too narrow, which the tests show.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # of 95 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of scores from 0 to 1, its 95 % interval, its standard error, and how it was made."""

    value: float
    low: float
    high: float
    error: float
    n: int
    method: str


def wilson(value: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of n rows."""
    middle = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def estimate(
    scores: Sequence[float],
    groups: Sequence[str],
    *,
    is_macro: bool = False,
    is_clustered: bool = False,
) -> Estimate:
    """Return the mean of at least one score with its interval.

    `groups` names the group of each: with `is_macro` the mean is that of the groups' means, with
    `is_clustered` the rows of a group are not taken for independent.
    """
    if is_macro:
        return _macro(scores, groups)
    n, value = len(scores), math.fsum(scores) / len(scores)
    if not is_clustered and all(score in (0, 1) for score in scores):
        return Estimate(value, *wilson(value, n), math.sqrt(value * (1 - value) / n), n, "Wilson")
    clusters: dict[str, float] = defaultdict(float)
    for at, (score, group) in enumerate(zip(scores, groups, strict=True)):
        clusters[group if is_clustered else str(at)] += score - value
    count = len(clusters)
    squares = math.fsum(total * total for total in clusters.values())
    error = math.sqrt(squares * count / (count - 1)) / n if count > 1 else 0.0
    equal = value * (1 - value) / error**2 if error else count
    method = "Wilson, clustered" if is_clustered else "Wilson, of a mean"
    return Estimate(value, *wilson(value, equal), error, n, method)


def _macro(scores: Sequence[float], groups: Sequence[str]) -> Estimate:
    rows: dict[str, list[float]] = defaultdict(list)
    for score, group in zip(scores, groups, strict=True):
        rows[group].append(score)
    means = [math.fsum(of_one) / len(of_one) for of_one in rows.values()]
    value = math.fsum(means) / len(means)
    spread = value * (1 - value)
    # As if all groups had the same mean: never too narrow, and known where a group has one row.
    plain = math.fsum(1 / len(of_one) for of_one in rows.values()) / len(rows) ** 2
    variance = spread * plain
    if all(len(of_one) > 1 for of_one in rows.values()):
        variance = (
            math.fsum(
                math.fsum((score - mean) ** 2 for score in of_one) / (len(of_one) - 1) / len(of_one)
                for of_one, mean in zip(rows.values(), means, strict=True)
            )
            / len(rows) ** 2
            or variance
        )
    equal = spread / variance if variance else 1 / plain
    error = math.sqrt(variance)
    return Estimate(value, *wilson(value, equal), error, len(scores), "Wilson, by group")


def rows_for_a_point(one: Estimate) -> int:
    """Return how many rows have an interval of no more than one point to each side."""
    spread = one.error**2 * one.n or 0.25
    return math.ceil(spread * (Z / 0.01) ** 2)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much the second of two runs is better on the same rows, and how sure that is.

    `p` is McNemar's exact one where all scores are 0 or 1, and that of the normal otherwise. `won`
    and `lost` count the rows on which the second run is better and worse.
    """

    value: float
    error: float
    n: int
    won: int
    lost: int
    p: float
    method: str

    @property
    def is_tied(self) -> bool:
        """Return True where chance explains the difference at 95 %."""
        return self.p >= 0.05


def difference(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    *,
    is_macro: bool = False,
    is_clustered: bool = False,
) -> Difference:
    """Return the difference of two runs over the same rows, in pairs."""
    changes = [after - before for before, after in zip(first, second, strict=True)]
    n = len(changes)
    won, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    weights = _weights(groups) if is_macro else [1 / n] * n
    parts = [weight * change for weight, change in zip(weights, changes, strict=True)]
    value = math.fsum(parts)
    clusters: dict[str, float] = defaultdict(float)
    for at, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        clusters[groups[at] if is_clustered else str(at)] += part - weight * value
    count = len(clusters)
    squares = math.fsum(total * total for total in clusters.values())
    error = math.sqrt(squares * count / (count - 1)) if count > 1 else 0.0
    if all(score in (0, 1) for score in (*first, *second)) and not is_macro and not is_clustered:
        return Difference(value, error, n, won, lost, mcnemar(won, lost), "McNemar")
    p = math.erfc(abs(value) / error / math.sqrt(2)) if error else float(value == 0)
    return Difference(value, error, n, won, lost, p, "paired normal")


def _weights(groups: Sequence[str]) -> list[float]:
    counts: dict[str, int] = defaultdict(int)
    for group in groups:
        counts[group] += 1
    return [1 / counts[group] / len(counts) for group in groups]


def mcnemar(won: int, lost: int) -> float:
    """Return the exact two-sided p of rows that changed one way or the other by chance alone.

    Of votes it is the sign test.
    """
    changed = won + lost
    tail = sum(math.comb(changed, k) for k in range(min(won, lost) + 1))
    return float(min(1.0, 2 * tail / 2**changed))
