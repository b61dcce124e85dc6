"""Rounds in which all sides are measured, and the statistics of their pairs.

Whatever slows the machine down for longer than a round falls on both sides of a pair, and not on
their ratio. Going first may be a burden or a help, so the sides take turns at it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Generic, NamedTuple, TypeVar

from .busy import watched

T = TypeVar("T")
U = TypeVar("U")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """The results of each side by round, and the share of the cores that others took meanwhile."""

    results: Mapping[str, Sequence[T]]
    busy: float | None

    def each(self, value: Callable[[T], U]) -> "Rounds[U]":
        """Return the same rounds with one value of every result."""
        results = {name: list(map(value, side)) for name, side in self.results.items()}
        return Rounds(results, self.busy)


def alternate(sides: Mapping[str, Callable[[], T]], rounds: int, *, warm_up: int = 1) -> Rounds[T]:
    """Measure every side once in each round, after `warm_up` rounds that do not count."""
    results: dict[str, list[T]] = {name: [] for name in sides}

    def measure(numbers: range) -> None:
        for number in numbers:
            for name in order(list(sides), number):
                results[name].append(sides[name]())

    measure(range(-warm_up, 0))
    _, busy = watched(lambda: measure(range(rounds)))
    return Rounds({name: values[warm_up:] for name, values in results.items()}, busy)


def joined(parts: Sequence[Rounds[T]]) -> Rounds[T]:
    """Return the rounds of all parts as one; as busy as the busiest of them."""
    names = parts[0].results
    results = {name: [one for part in parts for one in part.results[name]] for name in names}
    return Rounds(
        results, max((part.busy for part in parts if part.busy is not None), default=None)
    )


def order(names: Sequence[str], number: int) -> list[str]:
    """Return the order of the sides in a round: of any two, each goes first every other round."""
    return list(names) if number % 2 == 0 else list(reversed(names))


class Interval(NamedTuple):
    """Where a median lies with so much confidence."""

    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval | None:
    """Return the confidence interval of the median by order statistics; None of a single value.

    It supposes no distribution: between the k-th smallest and the k-th largest of n independent
    values lies the median with probability 1 - 2 P(B < k), B binomial of n and 1/2 (David and
    Nagaraja, Order Statistics, 7.1). It is the narrowest with CONFIDENCE or more. Fewer than six
    values have none, so that theirs is their whole range, whose confidence says so.
    """
    ordered, count = sorted(values), len(values)
    if count < 2:
        return None
    beyond, k = 1, 1  # the ways, of 2 ** count, in which B < k
    while 1 - 2 * (beyond + comb(count, k)) / 2**count >= CONFIDENCE:
        beyond, k = beyond + comb(count, k), k + 1
    return Interval(ordered[k - 1], ordered[-k], 1 - 2 * beyond / 2**count)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float] | None:
    """Return the ratio of each pair; None where one is over 0, as leaving it out would mislead."""
    pairs = list(zip(over, under, strict=True))
    return [one / other for one, other in pairs] if all(under) else None
