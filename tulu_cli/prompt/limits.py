"""Bounds on what a chat template may use: processor time, characters, and the bits of a number.

Jinja's sandbox keeps a template away from Python, but not from looping or growing without end, and
a template is a program that comes with a model. The compiled template checks these bounds itself,
at each iteration, call and operation that can grow (see `environment`), so they hold in any thread
and change nothing outside it. They are far above what a conversation needs. They are there for
templates that are broken; whoever writes one is trusted with the weights as well.
"""

import math
import re
import threading
from collections.abc import Iterable
from time import monotonic, thread_time
from typing import Any

SECONDS = 5.0
GRACE = 1.0  # of the thread's processor time after that: a busy or stopped computer is no reason
MOST_CHARACTERS = 2**27  # of one text, and of the output; also the items of a list
MOST_BITS = 2**17  # of a number: computing with larger ones cannot be interrupted

# By kind of format: a width or a precision of nine digits or more, or one that is an argument.
_WIDTHS = {
    "%": (re.compile(r"%[-+ #0\d.]*\d{9}"), re.compile(r"%[-+ #0\d.]*\*")),
    "{": (re.compile(r"\{[^{}]*:[^{}]*\d{9}"), re.compile(r"\{[^{}]*:[^{}]*\{")),
}


class Exhausted(BaseException):
    """A bound was hit; str() ends the sentence. No `except Exception` on the way swallows it."""


class _Deadline(threading.local):
    look = math.inf  # on the monotonic clock, which is quick to read
    end: float | None = None  # on the thread's processor clock, once the first time is up


_deadline = _Deadline()


def start_clock() -> None:
    """Give the template that this thread runs next its time."""
    _deadline.look, _deadline.end = monotonic() + SECONDS, None


def tick() -> bool:
    """Return True, or raise Exhausted if the template of this thread has used up its time."""
    if monotonic() > _deadline.look:
        _look()
    return True


def _look() -> None:
    """Give a template whose time is up another second of the processor, as it may have waited."""
    used = thread_time()
    if _deadline.end is None:
        _deadline.end = used + GRACE
    if used >= _deadline.end:
        raise Exhausted(f"runs for more than {SECONDS:g} seconds")
    _deadline.look = monotonic() + _deadline.end - used


def checked(value: Any) -> Any:
    """Return a value that a template has made; raise Exhausted if it is too long."""
    if isinstance(value, (str, list, tuple)) and len(value) > MOST_CHARACTERS:
        check_characters(len(value))
    return value


def check_characters(count: int) -> None:
    """Raise Exhausted if a text of `count` characters is too long."""
    if count > MOST_CHARACTERS:
        raise Exhausted(f"makes more than {MOST_CHARACTERS:,} characters")


def check_bits(count: int) -> None:
    """Raise Exhausted if a number of `count` bits is too large."""
    if count > MOST_BITS:
        raise Exhausted(f"computes a number of more than {MOST_BITS:,} bits")


def check_product(left: Any, right: Any) -> None:
    """Raise Exhausted if `left * right` is beyond the bounds."""
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(value, str | list | tuple):
            check_characters(len(value) * times)


def check_power(base: Any, exponent: Any) -> None:
    """Raise Exhausted if `base ** exponent` is beyond the bounds."""
    if isinstance(base, int) and isinstance(exponent, int):
        check_bits(base.bit_length() * exponent)


def check_format(text: Any, values: Any, kind: str = "%") -> None:
    """Raise Exhausted if `text % values`, or `text.format(values)` for `{`, is too wide."""
    if not isinstance(text, str):
        return
    wide, given = _WIDTHS[kind]
    numbers = values if isinstance(values, (list, tuple)) else [values]
    too_wide = any(isinstance(one, int) and one > MOST_CHARACTERS for one in numbers)
    if wide.search(text) or (too_wide and given.search(text)):
        check_characters(MOST_CHARACTERS + 1)


def check_replacement(text: str, old: str, new: str) -> None:
    """Raise Exhausted if `text.replace(old, new)` is too long."""
    if len(text) * len(new) > MOST_CHARACTERS:  # else it cannot be
        check_characters(len(text) + text.count(old) * (len(new) - len(old)))


def check_join(separator: str, items: list[Any]) -> None:
    """Raise Exhausted if `separator.join(items)` is too long."""
    texts = sum(len(item) for item in items if isinstance(item, str))
    check_characters(texts + len(separator) * len(items))


def check_method(name: str, text: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments for a method of `text`; raise Exhausted if its result is too long."""
    first = arguments[0] if arguments else None
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs") and isinstance(first, int):
        check_characters(first * (text.count("\t") if name == "expandtabs" else 1))
    elif name == "join" and isinstance(first, Iterable):
        arguments = (list(first), *arguments[1:])
        check_join(text, arguments[0])
    elif name == "replace" and all(isinstance(one, str) for one in arguments[:2]):
        check_replacement(text, *arguments[:2])
    return arguments
