"""The soak still runs, and says what was broken; its minutes are no test's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak import __main__ as runner
from tests.soak import chat, files
from tests.soak.files import Ended
from tests.soak.report import Outcome, Share
from tulu_cli.errors import ExitCode


@pytest.mark.parametrize("part", [chat.soak, files.soak])
def test_a_round_of_a_part(
    part: Callable[[Share], Outcome], demo_directory: Path, tmp_path: Path
) -> None:
    outcome = part(Share(0, 1, tmp_path))
    assert outcome.broken == []
    assert len(outcome.rows) >= 2


def test_what_is_broken_is_counted_and_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(share: Share) -> Outcome:
        return Outcome(["what", "n"], [("rows", 2)], ["lost"] * 2 + [str(n) for n in range(12)])

    def failing(share: Share) -> Outcome:
        raise ValueError("no engine")

    def sound(share: Share) -> Outcome:
        return Outcome([], skipped=f"{share.seconds:.0f} seconds are too few")

    parts = {"a": runner.Part(broken, 1), "b": runner.Part(failing, 1), "c": runner.Part(sound, 2)}
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([], 60, seed=7) == 1
    said = capsys.readouterr().out
    assert "  what  n\n  rows  2\n  BROKEN: lost (2 times)\n" in said
    assert "BROKEN: 1 more" in said
    assert "ValueError: no engine" in said
    assert "skipped: 30 seconds are too few" in said
    assert said.endswith("\nbroken: a, b\n")
    assert runner.main(["c"], 60, seed=7) == 0


@pytest.mark.parametrize(
    ("code", "stderr", "is_right"),
    [
        (0, "", True),
        (1, "tulu: it is damaged.\n", True),
        (1, "", False),
        (-9, "tulu: it is damaged.\n", False),
        (1, "tulu: this is a bug, KeyError: 'a'; --debug shows where.\n", False),
        (0, "Traceback (most recent call last):\n", False),
        (None, "", False),
        (ExitCode.BAD_INPUT, "tulu: line 3 is not JSON.\n", True),
    ],
)
def test_how_a_command_may_end(code: int | None, stderr: str, *, is_right: bool) -> None:
    assert (Ended(code, stderr, 0.1).problem() is None) is is_right
