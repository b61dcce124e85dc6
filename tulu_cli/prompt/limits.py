"""The bounds on what a chat template may make: characters, and the bits of a number."""

from typing import Any

MOST_CHARACTERS = 2**27  # of output, and of one repeated text
MOST_BITS = 2**17  # of a number: computing with larger ones cannot be interrupted
# A variable that no template can name: the two characters to put around generation blocks.
MARKS = "tulu generation marks"


class Exhausted(BaseException):
    """A bound was hit; str() ends the sentence. No `except Exception` on the way swallows it."""


def check_product(left: Any, right: Any) -> None:
    """Raise Exhausted for a multiplication whose result is beyond the bounds."""
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(value, str | list | tuple):
            check_characters(len(value) * times)


def check_power(base: Any, exponent: Any) -> None:
    """Raise Exhausted for a power that is beyond the bounds."""
    if isinstance(base, int) and isinstance(exponent, int):
        check_bits(base.bit_length() * exponent)


def check_characters(count: int) -> None:
    """Raise Exhausted for too long a text."""
    if count > MOST_CHARACTERS:
        raise Exhausted(f"makes more than {MOST_CHARACTERS:,} characters")


def check_bits(count: int) -> None:
    """Raise Exhausted for too large a number."""
    if count > MOST_BITS:
        raise Exhausted(f"computes a number of more than {MOST_BITS:,} bits")
