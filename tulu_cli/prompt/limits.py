"""What a chat template may use up: time, memory, output.

Jinja's sandbox keeps a template away from Python, but not from looping or growing for ever, and a
template is a program that comes with a model. These bounds make such a one an error in seconds.
They are far above what any conversation needs.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tulu_cli.errors import BadInput

SECONDS = 5.0  # of processor time, so that a stopped or busy computer is no reason to fail
MEMORY_BYTES = 2**30  # beyond what the process has when the template begins
MOST_CHARACTERS = 2**27  # of output, and of one repeated text
MOST_BITS = 2**17  # of a number: computing with larger ones cannot be interrupted


class Exhausted(BaseException):
    """A bound was hit; str() ends the sentence. No `except Exception` on the way swallows it."""


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY_BYTES) -> Iterator[None]:
    """Run a template inside; raises BadInput where it asks for more than it may have."""
    try:
        with time_limit(seconds), memory_limit(memory):
            yield
    except Exhausted as error:
        raise BadInput(f"The chat template {error}; it is broken or hostile.") from error
    except MemoryError as error:
        raise BadInput(
            f"The chat template asks for more than {memory / 2**30:g} GiB of memory; "
            "it is broken or hostile."
        ) from error


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Exhausted inside after so many seconds: an alarm, or a watchdog off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        with watchdog(seconds):
            yield
        return
    earlier = signal.signal(signal.SIGPROF, lambda *_: out_of_time(seconds))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """The same where signals do not arrive; real time, which is all that a thread can be given."""
    import ctypes

    thread = ctypes.c_ulong(threading.get_ident())

    def bite() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(Exhausted))

    timer = threading.Timer(seconds, bite)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exhausted as error:
        raise Exhausted(str(error) or too_slow(seconds)) from error
    finally:
        timer.cancel()


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """Make Linux refuse memory beyond what the process has and `extra` bytes.

    The limit is the whole process's, so it is set only where no other thread could suffer.
    """
    used = address_space()
    if used is None or threading.active_count() > 1:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY and soft <= used + extra:
        yield  # the user's own limit is tighter
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space() -> int | None:
    """Bytes of address space that this process has; None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
    except OSError:
        return None
    import resource

    return pages * resource.getpagesize()


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


def out_of_time(seconds: float) -> NoReturn:
    """Raise Exhausted for the time."""
    raise Exhausted(too_slow(seconds))


def too_slow(seconds: float) -> str:
    """The end of a sentence."""
    return f"runs for more than {seconds:g} seconds"
