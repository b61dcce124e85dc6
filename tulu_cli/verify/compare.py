"""Whether two answers are one expression, by sympy or by math-verify, in a child with a clock."""

import re
from functools import lru_cache

from tulu_cli.verify.clocked import TookTooLong, clocked
from tulu_cli.verify.verdict import Verdict, quoted, text_label

# What sympy reads as these integers too. Most wrong answers are decided here, 10,000 times faster.
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


@lru_cache(4096)  # many answers to one question are few different ones
def same_expression(one: str, other: str) -> bool | None:
    """Return True if sympy simplifies the difference of two expressions to 0.

    Return False also for what it cannot read, and None if it needs more than five seconds of
    computing. Raise TuluError without sympy.
    """
    if _INTEGER.fullmatch(one) and _INTEGER.fullmatch(other):
        return int(one) == int(other)
    try:
        return bool(clocked("same-expression").ask(one, other))
    except TookTooLong:
        return None


def math_verify(text: str, label: object) -> Verdict:
    """Compare as Hugging Face's math-verify does: a second opinion, and not the card's metric."""
    gold = text_label(label)
    try:
        verified, extracted = clocked("math-verify").ask(gold, text)
    except TookTooLong:
        return Verdict.wrong(None, "math-verify takes too long")
    if extracted is None:
        return Verdict.wrong(None, "math-verify finds nothing in the answer to compare")
    words = "is" if verified else "is not"
    return Verdict.of(
        verified, extracted, f"by math-verify {quoted(extracted)} {words} the label {quoted(gold)}"
    )
