"""The values that every plan is made of: amounts with their uncertainty, and the verdict.

Every amount of memory is in bytes.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Range:
    """An uncertain amount: the least, the expected and the most."""

    low: int
    expected: int
    high: int

    @classmethod
    def exact(cls, size: int) -> "Range":
        """Return a range of one known amount."""
        return cls(size, size, size)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def taken_from(self, size: int) -> "Range":
        """Return what remains of `size` once this amount is taken from it."""
        return Range(size - self.high, size - self.expected, size - self.low)


def ceil_div(amount: int, size: int) -> int:
    """Return the number of pieces of `size` that hold `amount`."""
    return -(-amount // size)


def round_up(amount: int, size: int) -> int:
    """Return the least multiple of `size` that is not below `amount`."""
    return ceil_div(amount, size) * size


class Verdict(StrEnum):
    """The answer to "does it fit"; `TIGHT` is inside the uncertainty: likely, but not certain."""

    FITS = "fits"
    TIGHT = "fits tightly"
    NOT = "does not fit"


class Judgement(NamedTuple):
    """A verdict and the sentence that says why, without its full stop."""

    verdict: Verdict
    reason: str

    @property
    def fits(self) -> bool:
        """True unless the verdict is `NOT`."""
        return self.verdict is not Verdict.NOT
