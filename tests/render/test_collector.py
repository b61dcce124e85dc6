"""What a stream has said so far, whole or cut."""

from itertools import count

import pytest

from tulu_cli.core import TokenLogprob, Usage
from tulu_cli.render.collector import Collector

from .events import done, text


def test_the_pieces_of_each_choice_add_up() -> None:
    collector = Collector(2, 10, 7)
    first, second = TokenLogprob(1, -0.5), TokenLogprob(2, -1.0)
    for event in (
        text("Hel", 1, logprobs=(first,)),
        text("other", 5, index=1),
        text("lo", 2, 3, logprobs=(second,)),
        done(1, index=1),
        done(3),
    ):
        collector.add(event)
    hello, other = collector.completions
    assert (hello.text, hello.token_ids, hello.logprobs) == ("Hello", (1, 2, 3), (first, second))
    assert (hello.done, other.text, other.done) == (done(3), "other", done(1, index=1))


def test_a_cut_choice_has_the_times_that_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(100.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    collector = Collector(2, 10, 7)  # at 100
    collector.add(text("a", 1))  # at 101
    collector.add(text("b", 2, 3))  # the first token is what counts, but the clock is read: 102
    collector.cut = "error"
    begun, unbegun = collector.completions  # at 103, 104
    assert begun.done.finish_reason == unbegun.done.finish_reason == "error"
    assert (begun.done.usage, unbegun.done.usage) == (Usage(10, 3), Usage(10, 0))
    assert (begun.done.seed, unbegun.done.seed) == (7, 8)
    assert (begun.done.timings.first_token, begun.done.timings.total) == (1.0, 3.0)
    assert unbegun.done.timings.first_token == unbegun.done.timings.total == 4.0


def test_a_choice_that_ended_keeps_its_end() -> None:
    collector = Collector(1, 10, 7)
    collector.add(done(0, reason="length"))
    collector.cut = "error"
    assert collector.completions[0].done.finish_reason == "length"
