"""What is said of how far a batch has come."""

import io

import pytest

from tulu_cli.batch.progress import Counts, Reporter
from tulu_cli.core import Completion, Done, Drafted, Timings, Usage
from tulu_cli.errors import BadInput
from tulu_cli.streams import Streams


def answer(prompt: int, *completions: int) -> list[Completion]:
    dones = (Done("stop", Usage(prompt, n), Timings(0, 0, 0), 0) for n in completions)
    return [Completion("", (), (), done) for done in dones]


def test_counts_and_the_time_left() -> None:
    counts = Counts(started=100.0, finished_before=7)
    counts.add(answer(10, 5, 5))
    counts.add(answer(30, 10))
    counts.add(BadInput("no"))
    counts.share = 0.25
    expected = "3 rows after 7 before, 1 error, 10 tokens/s in, 5 out, 25%, 12 s left"
    assert counts.line(104.0) == expected
    assert counts.summary(104.0) == {
        "rows": 3,
        "answered": 2,
        "errors": 1,
        "finished_before": 7,
        "prompt_tokens": 40,
        "completion_tokens": 20,
        "seconds": 4.0,
        "rows_per_second": 0.75,
    }
    assert Counts(started=1.0).line(1.0) == "0 rows, 0 tokens/s in, 0 out"
    assert Counts(started=1.0).summary(1.0)["rows_per_second"] is None


def test_what_was_drafted_is_told_until_an_answer_does_not_tell_it() -> None:
    counts = Counts(started=0.0)
    for drafted in (Drafted(8, 6), Drafted(4, 3)):
        usage = Usage(10, 8, drafted=drafted)
        counts.add([Completion("", (), (), Done("stop", usage, Timings(0, 0, 0), 0))])
    assert counts.line(2.0).endswith("8 out, 9 of 12 drafted tokens accepted (75%)")
    told = counts.summary(2.0)
    assert (told["drafted_tokens"], told["accepted_tokens"]) == (12, 9)
    for more in (answer(10, 5), [Completion("", (), (), Done("stop", usage, Timings(0, 0, 0), 0))]):
        counts.add(more)
        assert "drafted" not in counts.line(2.0)
        assert "drafted_tokens" not in counts.summary(2.0)


def test_rows_that_are_known_to_be_expected_tell_the_time_left_from_the_first_on() -> None:
    counts = Counts(started=0.0, expected=200, share=0.9)  # read ahead, and not answered
    assert counts.line(1.0) == "0 of 200 rows, 0 tokens/s in, 0 out"
    counts.add(answer(10, 5))
    assert counts.line(2.0) == "1 of 200 rows, 5 tokens/s in, 2 out, 0%, 7 min left"


def test_tokens_that_nobody_counts_are_not_shown_as_none() -> None:
    counts = Counts(started=0.0)
    counts.add(answer(0, 0))
    assert counts.line(1.0) == "1 row"
    assert counts.summary(1.0)["completion_tokens"] is None


@pytest.mark.parametrize(("tty", "said"), [(True, 5), (False, 2)])
def test_a_terminal_is_told_often_and_a_log_early_and_then_once_a_minute(
    tty: bool, said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    now = [0.0]
    streams = Streams.test(tty=tty)
    reporter = Reporter(streams, Counts(0.0), lambda: now[0], label="gsm8k: ")
    for now[0] in (0.1, 0.25, 0.3, 30.0, 61.0, 100.0, 130.0):
        reporter.tick()
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue().count(b"gsm8k: 0 rows") == said
    assert (b"\x1b" in streams.stderr.getvalue()) is tty
