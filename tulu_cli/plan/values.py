"""The units and the ranges that the planner counts in. Every amount of memory is in bytes."""

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Range:
    """An amount of memory that is not certain: the least, the likely and the most."""

    low: int
    expected: int
    high: int

    @classmethod
    def exact(cls, size: int) -> "Range":
        """An amount that is known."""
        return cls(size, size, size)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def taken_from(self, size: int) -> "Range":
        """What is left of `size`: its least is where this is at its most."""
        return Range(size - self.high, size - self.expected, size - self.low)


def ceil_div(amount: int, size: int) -> int:
    """How many pieces of `size` hold `amount`."""
    return -(-amount // size)


def round_up(amount: int, size: int) -> int:
    """The next multiple of `size`."""
    return ceil_div(amount, size) * size
