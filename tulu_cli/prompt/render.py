"""Running a chat template, with its failures as one sentence.

What a chat template may use up: time, memory, output.

Jinja's sandbox keeps a template away from Python, but not from looping or growing for ever, and a
template is a program that comes with a model. These bounds make such a one an error in seconds.
They are far above what any conversation needs.
"""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.limits import Exhausted
from tulu_cli.text import one_line

SECONDS = 5.0  # of processor time, so that a stopped or busy computer is no reason to fail
MEMORY_BYTES = 2**30  # beyond what the process has when the template begins


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


def out_of_time(seconds: float) -> NoReturn:
    """Raise Exhausted for the time."""
    raise Exhausted(too_slow(seconds))


def too_slow(seconds: float) -> str:
    """The end of a sentence."""
    return f"runs for more than {seconds:g} seconds"


CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # the text that transformers uses


class Render(Protocol):
    """A template with its options: messages to text, with a generation prompt if `asked`."""

    def __call__(self, messages: Sequence[Message], *, asked: bool) -> str: ...


def render_template(source: str, variables: Mapping[str, Any]) -> str:
    """The text; raises BadInput where the template is broken, refuses, or takes too much."""
    from jinja2 import TemplateError, TemplateSyntaxError

    from tulu_cli.prompt.environment import compile_template

    try:
        with bounded(SECONDS):
            return compile_template(source).render(variables)
    except BadInput:
        raise
    except TemplateSyntaxError as error:
        message = (error.message or "unknown").rstrip(".")
        raise BadInput(
            f"The chat template has a syntax error in line {error.lineno}: {message}."
        ) from error
    except TemplateError as error:
        raise BadInput(f"The chat template refuses this conversation: {_reason(error)}") from error
    except Exception as error:  # a template is a program: it can fail in any way
        raise BadInput(
            f"The chat template fails on this conversation: {type(error).__name__}: "
            f"{_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    return one_line(str(error)).rstrip(".") + "."


def render_messages(source: str, variables: Mapping[str, Any], continue_final: bool) -> str:
    """Render; with `continue_final` the text ends where the last message's content ends."""
    if not continue_final:
        return render_template(source, variables)
    *before, last = variables["messages"]
    tagged = {**last, "content": last["content"] + CONTINUE_TAG}
    text = render_template(source, {**variables, "messages": [*before, tagged]})
    if last["content"].strip() not in text or CONTINUE_TAG.strip() not in text:
        raise BadInput(
            "The chat template does not show the last message as it is, so it cannot be continued."
        )
    return cut_at_tag(text)


def cut_at_tag(text: str) -> str:
    """The text before the tag; without trailing space if the template stripped the tag's own."""
    place = text.rindex(CONTINUE_TAG.strip())
    before = text[:place]
    return before if text.startswith(CONTINUE_TAG, place) else before.rstrip()
