"""A hostile template is one sentence in seconds."""

import signal
import threading
import time

import pytest

from tests.program import DEADLINE_SECONDS
from tulu_cli.errors import BadInput
from tulu_cli.prompt.render import address_space, bounded, render_template

GROWING = (
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)
MULTIPLYING = GROWING.replace("'ab'", "10").replace("~", "*")
TOO_LARGE = {
    "{{ 'x' * 10**10 }}": "more than 134,217,728 characters",
    "{{ 10**10 * 'x' }}": "more than 134,217,728 characters",
    "{{ [0] * 10**10 }}": "more than 134,217,728 characters",
    "{{ 10 ** (10 ** 10) }}": "a number of more than 131,072 bits",
    MULTIPLYING: "a number of more than 131,072 bits",
    "{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}": "characters",
    "{% macro m() %}{% for i in range(9999) %}{{ 'x' * 9**5 }}{% endfor %}{% endmacro %}"
    "{{ m() }}": "characters",
}
TOO_MUCH_MEMORY = (
    "{{ 'x' | center(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ 'x'.ljust(10**10) }}",
    "{{ [1] | tojson(indent=10**10) }}",
    "{{ ('x' * 10**7).replace('x', 'y' * 10**5) }}",
    GROWING,
)
LOOPS = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ lipsum(n=10**9) | length }}",
)


def complaint(source: str) -> str:
    """The sentence that the source ends with."""
    with pytest.raises(BadInput) as caught:
        render_template(source, {})
    return str(caught.value)


@pytest.mark.parametrize("source", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_what_grows_is_refused_before_it_is_made(source: str) -> None:
    assert TOO_LARGE[source] in complaint(source)


@pytest.mark.parametrize("source", TOO_MUCH_MEMORY, ids=range(len(TOO_MUCH_MEMORY)))
def test_what_takes_memory_is_refused_by_the_system(source: str) -> None:
    if threading.active_count() > 1:
        pytest.skip("another thread runs, which the limit would be for too")
    if address_space() is None:
        pytest.skip("this system does not say how much memory a process has")
    assert "more than 1 GiB of memory" in complaint(source)


@pytest.mark.parametrize("source", LOOPS)
def test_a_loop_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.prompt.render.SECONDS", 0.2)
    started = time.process_time()
    assert complaint(source) == (
        "The chat template runs for more than 0.2 seconds; it is broken or hostile."
    )
    assert time.process_time() - started < 5


def test_a_range_that_is_too_long_is_refused_at_once() -> None:
    assert "Range too big" in complaint("{% for i in range(10**9) %}{% endfor %}")


def test_a_loop_in_another_thread_is_stopped() -> None:
    said: list[str] = []

    def work() -> None:
        try:
            with bounded(seconds=0.2):
                while True:
                    pass
        except BadInput as error:
            said.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=DEADLINE_SECONDS)
    assert said == ["The chat template runs for more than 0.2 seconds; it is broken or hostile."]


def test_nothing_is_left_of_the_limits() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    complaint("{{ 'x' | center(10**10) }}" if threading.active_count() == 1 else "{{ 1 // 0 }}")
    render_template("{{ 1 }}", {})
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before


def test_work_within_the_limits_is_not_touched() -> None:
    assert render_template("{{ 'ab' * 3 }}{{ 2 ** 10 }}{{ 3 * 4 }}{{ 1.5 * 2 }}", {}) == (
        "ababab1024123.0"
    )
