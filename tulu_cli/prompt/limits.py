"""Bounds on what a chat template may use: source, processor time, characters, bits of a number.

Jinja's sandbox keeps a template away from Python, but not from looping or growing without end, and
a template is a program that comes with a model. The compiled template checks these bounds itself,
at each iteration, call and operation that can grow (see `environment`), so they hold in any thread
and change nothing outside it. They are far above what a conversation needs. They are there for
templates that are broken; whoever writes one is trusted with the weights as well.
"""

import re
import threading
from collections.abc import Callable, Iterable
from functools import wraps
from time import monotonic, thread_time
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tulu_cli.errors import TemplateExhausted

SECONDS = 5.0
GRACE = 1.0  # of the thread's processor time after that: a busy or stopped computer is no reason
MOST_LEXEMES = 2**15  # of the source; the longest templates that are published have 4,000
MOST_CHARACTERS = 2**27  # of one text, and of the output; also the items of a list
MOST_CHARACTERS_IN_ALL = 2**31  # of all texts and lists that are made, unless they are short
SHORT = 2**10
MOST_FOR_SLOW_FILTERS = 2**16  # characters or items: some filters are quadratic
MOST_BITS = 2**17  # of a number: computing with larger ones cannot be interrupted

# By kind of format: a width or a precision of nine digits or more, or one that is an argument.
_WIDTHS = {
    "%": (re.compile(r"%[-+ #0\d.]*\d{9}"), re.compile(r"%[-+ #0\d.]*\*")),
    "{": (re.compile(r"\{[^{}]*:[^{}]*\d{9}"), re.compile(r"\{[^{}]*:[^{}]*\{")),
}


class Exhausted(BaseException):
    """A bound was hit; str() ends the sentence. No `except Exception` on the way swallows it."""


class _Used:
    """What the templates of one thread have used of the budget that is open."""

    __slots__ = ("budgets", "characters", "end", "failure", "look")

    def __init__(self) -> None:
        self.budgets = 0  # that are open, one in the other
        self.begin()

    def begin(self) -> None:
        """Have nothing used."""
        self.look = monotonic() + SECONDS  # on a clock that is quick to read
        self.end: float | None = None  # on the thread's processor clock, once that time is up
        self.characters = 0
        self.failure: str | None = None


class _Thread(threading.local):
    def __init__(self) -> None:
        self.used = _Used()


_thread = _Thread()


class Budget:
    """What all templates that this thread runs inside the `with` may use together.

    A budget inside another one is a part of it. TemplateExhausted is raised where a bound is hit,
    by every budget that is opened in the same one after that, and once more at its end if someone
    has taken it for a refusal: what tries a template with many conversations cannot swallow it.
    """

    def __enter__(self) -> None:
        """Open the budget. Raise TemplateExhausted if the one that it is a part of is used up."""
        used = _thread.used
        if not used.budgets:
            used.begin()
        elif used.failure is not None:
            raise TemplateExhausted(used.failure)
        elif monotonic() > used.look:
            try:
                _look(used)
            except Exhausted as error:
                raise _exhausted(error) from error
        used.budgets += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close the budget. Raise TemplateExhausted if it is used up, and that was not raised."""
        used = _thread.used
        used.budgets -= 1
        if error is None and used.failure is None:
            return
        if isinstance(error, Exhausted):
            raise _exhausted(error) from error
        swallowed = error is None or (
            isinstance(error, Exception) and not isinstance(error, TemplateExhausted)
        )
        if swallowed and used.failure is not None and not used.budgets:
            raise TemplateExhausted(used.failure) from error


def _exhausted(error: Exhausted) -> TemplateExhausted:
    failure = f"The chat template {error}; it is broken or hostile."
    _thread.used.failure = failure
    return TemplateExhausted(failure)


BUDGET = Budget()
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def on_one_budget(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Let all templates that a call of the function runs share one budget."""

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        with BUDGET:
            return function(*args, **kwargs)

    return call


def tick() -> bool:
    """Return True, or raise Exhausted if the templates of this budget have used up their time."""
    used = _thread.used
    if monotonic() > used.look:
        _look(used)
    return True


def _look(used: _Used) -> None:
    """Give a template whose time is up another second of the processor, as it may have waited."""
    now = thread_time()
    if used.end is None:
        used.end = now + GRACE
    if now >= used.end:
        raise Exhausted(f"runs for more than {SECONDS:g} seconds")
    used.look = monotonic() + used.end - now


def checked(value: Any) -> Any:
    """Return a value that a template has made; raise Exhausted if it is too long."""
    if isinstance(value, (str, list, tuple)) and len(value) > SHORT:
        check_characters(len(value))
        used = _thread.used
        used.characters += len(value)
        if used.characters > MOST_CHARACTERS_IN_ALL:
            raise Exhausted(f"makes more than {MOST_CHARACTERS_IN_ALL:,} characters in all")
    return value


def check_characters(count: int) -> None:
    """Raise Exhausted if a text of `count` characters is too long."""
    if count > MOST_CHARACTERS:
        raise Exhausted(f"makes more than {MOST_CHARACTERS:,} characters")


def check_for_slow_filter(name: str, value: Any) -> None:
    """Raise Exhausted if a text or a list is too long for this filter."""
    if isinstance(value, (str, list, tuple)) and len(value) > MOST_FOR_SLOW_FILTERS:
        most = f"{MOST_FOR_SLOW_FILTERS:,}"
        raise Exhausted(f"gives the filter {name} more than {most} characters or items")


def check_lexemes(count: int) -> None:
    """Raise Exhausted if a source of `count` words, signs and texts is too long to compile."""
    if count > MOST_LEXEMES:
        raise Exhausted(f"has more than {MOST_LEXEMES:,} words and signs")


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
