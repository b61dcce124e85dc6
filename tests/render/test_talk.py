"""What is said beside the answer."""

import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from tulu_cli.core import Completion, Done, Drafted, Timings, Usage
from tulu_cli.render.talk import progress_on, stats_line
from tulu_cli.streams import Streams

from .events import done


def choice(tokens: int, **of_done: Any) -> Completion:
    return Completion("", (), (), done(tokens, **of_done))


def test_statistics_of_one_choice() -> None:
    assert stats_line([choice(1_001, cached=4)]) == (
        "10 prompt tokens (4 cached), 1,001 completion tokens, first token 1.00 s, "
        "500.0 tokens/s, stopped by stop"
    )


def test_statistics_of_a_draft() -> None:
    usage = Usage(10, 20, drafted=Drafted(46, 39))
    line = stats_line([Completion("", (), (), Done("stop", usage, Timings(0, 1, 2), 0))])
    assert "20 completion tokens, 39 of 46 drafted tokens accepted (85%), first token" in line
    nothing = replace(usage, drafted=Drafted(0, 0))
    line = stats_line([Completion("", (), (), Done("stop", nothing, Timings(0, 1, 2), 0))])
    assert "0 of 0 drafted tokens accepted, first" in line


def test_statistics_of_several() -> None:
    choices = [choice(11), choice(21, index=1, reason="length", timings=(0.0, 2.0, 4.0))]
    line = stats_line(choices)
    assert "32 completion tokens" in line
    assert "10.0 tokens/s" in line  # 30 after the first ones, in the 3 s after the first of all
    assert line.endswith("stopped by stop, length")


def test_statistics_where_nothing_came() -> None:
    line = stats_line([choice(0, reason="interrupted", timings=(0.0, 1.0, 1.0))])
    assert "0 completion tokens" in line
    assert "0.0 tokens/s" in line
    assert "-" not in stats_line([choice(0, timings=(0.0, 1.0, 2.0))])


def test_a_log_gets_a_line_for_each_stage() -> None:
    streams = Streams.test()
    with progress_on(streams) as progress:
        for done_, stage in enumerate(["Fetching", "Fetching", "Converting \x1b[2J"]):
            progress(stage, done_, 3)
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue().decode() == "tulu: Fetching\ntulu: Converting ␛[2J\n"


def test_nothing_is_shown_where_nothing_is_reported() -> None:
    streams = Streams.test(tty=True)
    loaded = "rich.progress" in sys.modules
    with progress_on(streams):
        pass
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue() == b""
    assert ("rich.progress" in sys.modules) == loaded


def test_a_bar_on_a_terminal_shows_the_stage_made_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress_on(Streams.test(tty=True)) as progress:
        progress("Converting [b]\x1b]52;c;aGk=\x07", 1, 4)
        progress("Converting [b]\x1b]52;c;aGk=\x07", 2, 4)
        progress("Waiting", 0, 0)
    shown = screen.getvalue()
    assert "Converting [b]␛]52;c;aGk=␇" in shown
    assert "50%" in shown
    assert "\x1b]52" not in shown


def test_a_bar_is_gone_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress = progress_on(Streams.test(tty=True))
    progress.__enter__()("Fetching", 1, 4)
    error = KeyboardInterrupt()
    assert not progress.__exit__(type(error), error, None)
    assert screen.getvalue().endswith("\x1b[2K"), "the line of the bar is erased"
    assert "\x1b[?25h" in screen.getvalue(), "the cursor is back"
