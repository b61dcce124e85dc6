"""What the benchmarks' report and table make of figures; the figures themselves are no test's."""

import fcntl
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from tests.benchmarks import __main__ as runner
from tests.benchmarks.busy import Clocks, share_of_others
from tests.benchmarks.pairs import Rounds, alternate, joined, median_interval
from tests.benchmarks.report import (
    Goal,
    Row,
    at_least,
    at_most,
    busy_sentence,
    compare,
    keep,
    number,
    print_rows,
    shown_figure,
    shown_interval,
    shown_met,
)
from tests.benchmarks.table import read_figures, tables
from tests.program import DEADLINE_SECONDS, environment, eventually

BUSY = (
    "the machine was busy: 37% of the cores went to other processes "
    "(load average before the start: 2.4)"
)


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "figure", "met"),
    [
        (at_most(1.6), 0.16, 0.1, "1.6", True),
        (at_most(1.6), 0.17, 0.1, "1.7", False),
        (at_least(0.95), 94, 100, "0.94", False),
        (at_least(10, "gain"), 0.2, 4, "20 times", True),
        (at_least(10, "gain"), 2, 4, "2 times", False),
        (at_most(30, "more"), 85, 54, "31 s more", False),
        (at_most(0, "ours"), 0, 0, "-", True),
        (at_most(0, "ours"), 1, 0, "-", False),
        (at_most(1), 1, 0, "-", None),
        (Goal(), 1, 2, "0.5", None),
    ],
)
def test_a_goal_is_judged(
    goal: Goal, ours: float, peer: float, figure: str, met: bool | None
) -> None:
    row = Row("what", [ours], "peer", [peer], "s", goal)
    assert (shown_figure(row), row.met) == (figure, met)


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "figure"),
    [
        # What the medians of the two sides would say misses each of these goals.
        (at_least(0.9), [1, 10, 4], [1, 5, 8], 1),
        (at_most(1.1, "gain"), [1, 10, 4], [1, 5, 8], 1),
        (at_most(3, "more"), [4, 10, 7], [1, 9, 0], 3),
        (at_most(2), [1, 6], [1, 2], 2),
    ],
)
def test_the_figure_is_the_median_of_the_pairs(
    goal: Goal, ours: list[float], peer: list[float], figure: float
) -> None:
    row = Row("what", ours, "peer", peer, "s", goal)
    assert row.figure == figure
    assert row.met


def test_a_goal_of_ours_alone_is_judged_by_our_median() -> None:
    row = Row("what", [3, 1, 2], "peer", [1, 1, 1], "s", at_most(2, "ours"))
    assert row.met
    assert row.figure == 2, "beside the peer it is still shown"


def test_values_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="what: 3 values, peer: 2: these are no pairs"):
        Row("what", [1, 2, 3], "peer", [1, 2], "s")
    with pytest.raises(ValueError, match="no pairs"):
        Row("what", [], "peer", [], "s")


@pytest.mark.parametrize("goal", [at_most(1), at_least(1, "gain")])
def test_a_pair_over_0_takes_the_figure_away_and_is_told(goal: Goal) -> None:
    one, other = [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]
    ours, peer = (other, one) if goal.measure == "gain" else (one, other)
    row = Row("what", ours, "peer", peer, "s", goal)
    assert (row.figure, row.met, row.interval) == (None, None, None)
    assert shown_interval(row) == "no ratio: 0 in 1 of 3 pairs"
    assert Row("what", ours, "peer", peer, "s", at_most(1, "more")).figure is not None


@pytest.mark.parametrize(
    ("count", "low", "high", "confidence"),
    # The table of any book on order statistics, such as Conover's for the quantile test.
    [
        (2, 1, 2, 0.5),
        (3, 1, 3, 0.75),
        (5, 1, 5, 0.9375),
        (6, 1, 6, 0.96875),
        (8, 1, 8, 0.9922),
        (9, 2, 8, 0.9609),
        (12, 3, 10, 0.9614),
        (20, 6, 15, 0.9586),
    ],
)
def test_the_median_lies_between_two_order_statistics(
    count: int, low: int, high: int, confidence: float
) -> None:
    found = median_interval([*range(count, 0, -1)])
    assert found is not None
    assert found[:2] == (low, high)
    assert found.confidence == pytest.approx(confidence, abs=5e-5)


def test_one_pair_has_no_interval() -> None:
    assert median_interval([1]) is None
    assert shown_interval(Row("what", [1], "peer", [2], "s")) == "1 pair"


def test_an_interval_is_shown_with_its_confidence_and_the_pairs() -> None:
    row = Row("what", [8, 10, 9], "peer", [10, 10, 10], "s")
    assert shown_interval(row) == "0.8 to 1 (75%, 3 pairs)"


def test_the_sides_take_turns_at_going_first() -> None:
    said: list[str] = []

    def side(name: str) -> int:
        said.append(name)
        return len(said)

    names = ("ours", "peer", "other")
    rounds = alternate({name: partial(side, name) for name in names}, 3)
    warm, *counted = (said[start : start + 3] for start in range(0, len(said), 3))
    assert sorted(warm) == sorted(names)
    assert counted == [[*names], [*reversed(names)], [*names]]
    # The warm-up does not count, and each result is in the place of its round.
    assert rounds.results == {"ours": [4, 9, 10], "peer": [5, 8, 11], "other": [6, 7, 12]}


def test_a_side_that_fails_leaves_no_uneven_pair() -> None:
    def fails() -> int:
        raise RuntimeError("the peer has ended")

    with pytest.raises(RuntimeError, match="has ended"):
        alternate({"ours": lambda: 1, "peer": fails}, 3)


def test_rounds_become_a_row() -> None:
    first = Rounds({"ours": [(1, "a")], "peer": [(2, "b")]}, 0.01)
    later = Rounds({"ours": [(3, "c")], "peer": [(4, "d")]}, 0.5)
    rounds = joined([first, later]).each(lambda pair: float(pair[0]))
    assert compare(rounds, "what", "ours", "peer", "s", at_most(1)) == Row(
        "what", [1, 3], "peer", [2, 4], "s", at_most(1), 0.5
    )


@pytest.mark.parametrize(
    ("after", "share"),
    [
        (Clocks(120, 55, 35), 0.0),  # 20 s of the cores: 5 idle, 15 ours
        (Clocks(120, 50, 30), 0.5),  # none idle, 10 ours: the rest, steal too, went to others
        (Clocks(120, 70, 20.2), 0.0),  # ticks that count less than the processes do
        (Clocks(100, 50, 20), None),  # no time has passed
    ],
)
def test_what_is_neither_idle_nor_ours_went_to_others(after: Clocks, share: float | None) -> None:
    assert share_of_others(Clocks(100, 50, 20), after) == share


def test_a_figure_of_a_busy_machine_is_judged_and_marked() -> None:
    def row(busy: float | None) -> Row:
        return Row("what", [2], "peer", [1], "s", at_most(1), busy)

    quiet, busy = (row(None), row(0.049)), (row(0.05), row(0.37))
    assert [shown_met(one) for one in (*quiet, *busy)] == [
        "missed",
        "missed",
        "missed (busy: 5%)",
        "missed (busy: 37%)",
    ]
    assert busy_sentence([*quiet], 9) is None
    assert busy_sentence([*quiet, *busy], 2.44) == BUSY


def test_the_screen_and_the_file_say_how_busy_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(sys, "argv", ["plan.py", "--pairs", "3"])
    print_rows([Row("plan", [2, 4, 6], "typer", [1, 2, 2], "s", at_most(2), 0.37)], 2.44)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "python -m tests.benchmarks.plan --pairs 3",
        "  plan: 4 s; typer: 2 s; 2, 2 to 3 (75%, 3 pairs); goal at most 2: met (busy: 37%)",
        f"  {BUSY}",
    ]
    run = json.loads((tmp_path / "figures").read_text())
    assert run["load_before"] == 2.44
    (row,) = run["rows"]
    assert (row["ours"], row["peer"], row["busy"]) == ([2, 4, 6], [1, 2, 2], 0.37)
    assert "met (busy: 37%)" in list(tables(read_figures([json.dumps(run)])))[-1]


_ADOPTING = r"""
import subprocess, sys, time
from tests.benchmarks.busy import adopt_orphans, read_clocks
adopt_orphans()
before = read_clocks().own
burn = "import time\nwhile time.process_time() < 0.3: pass"
subprocess.run(["sh", "-c", '"$0" -c "$1" &', sys.executable, burn], check=True)
while (own := read_clocks().own - before) < 0.3 or len(sys.argv) > 1:
    print(flush=True)
    time.sleep(0.01)
sys.exit(7)
"""


def test_what_an_orphan_computes_is_ours_and_the_exit_code_is_passed_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ADOPTING],
        env=environment(),
        check=False,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (7, b"")


def test_a_signal_reaches_the_benchmark_behind_the_process_that_adopts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ADOPTING, "for ever"], env=environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        process.terminate()
        process.stdout.read()  # ends with the child, which has the other end
        assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.12345, "0.123"), (99.96, "100"), (1234.5, "1,234")]
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_last_of_each_figure_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "figures.jsonl"
    monkeypatch.setenv("BENCH_FIGURES", str(file))
    monkeypatch.setattr(sys, "argv", ["/somewhere/tests/benchmarks/plan.py", "3"])
    other = Row("a | b", [1], "peer", [2], "s")
    keep([Row("plan", [9], "typer", [3], "s", at_most(1.6)), other], 0)
    keep([Row("plan", [3, 4], "typer", [3, 5], "s", at_most(1.6))], 0)
    made = list(tables(read_figures(file.read_text().splitlines())))
    command, interval = "`python -m tests.benchmarks.plan 3`", "0.8 to 1 (50%, 2 pairs)"
    assert made[2:] == [
        "| what | ours | peer | figure | its median lies in | goal |  | command |",
        "|---|---|---|---|---|---|---|---|",
        f"| plan | 3.5 s | typer: 4 s | 0.9 | {interval} | at most 1.6 | met | {command} |",
        f"| a \\| b | 1 s | peer: 2 s | 0.5 | 1 pair | reported | - | {command} |",
    ]
    (said, *_) = made
    machine = json.loads(file.read_text().splitlines()[-1])["machine"]
    assert said[4] == said[7] == "-", "the day"
    assert f"{machine['cores']} cores" in said
    assert machine["packages"]["typer"] in said


def test_a_figure_that_was_kept_before_there_were_pairs_is_one() -> None:
    goal = {"measure": "ratio", "most": 2, "least": None}
    old = {"what": "plan", "ours": 3, "peer_name": "typer", "peer": 2, "unit": "s", "goal": goal}
    machine = {"processor": "", "cores": 1, "memory_gib": 1, "system": "", "python": ""}
    run = {"command": "python -m tests.benchmarks.plan", "date": "2026-11-02", "rows": [old]}
    (figure,) = read_figures([json.dumps(run | {"machine": machine | {"packages": {}}})])
    assert figure.row == Row("plan", [3], "typer", [2], "s", at_most(2))


def test_figures_of_two_machines_are_two_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(sys, "argv", ["plan.py"])
    keep([Row("figure", [1], "peer", [2], "s")], 0)
    one = (tmp_path / "figures").read_text()
    run = json.loads(one)
    run["machine"]["cores"] = 96
    run["date"] = "2027-01-02T03:04:05+00:00"
    made = list(tables(read_figures([one, json.dumps(run)])))
    assert len([line for line in made if line.startswith("| what |")]) == 2
    assert any(line.startswith("2027-01-02, ") and "96 cores" in line for line in made)


def test_one_that_fails_or_hangs_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "tests" / "benchmarks"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    hang = "import fcntl, time; f = open('held', 'w'); fcntl.flock(f, 2); time.sleep(600)"
    (package / "fails.py").write_text("raise SystemExit(3)")
    (package / "hangs.py").write_text(child.format(hang))
    (package / "works.py").write_text("print('worked')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(runner, "LIMITS", {"fails": 1, "hangs": 0.1, "works": 1})
    assert runner.main(["fails", "hangs", "works"]) == 1
    out, err = capfd.readouterr()
    assert "worked" in out
    assert "fails failed" in err
    assert "hangs failed" in err
    assert "works failed" not in err
    with (tmp_path / "held").open() as file:
        assert eventually(lambda: is_free(file)), "its child has outlived it"


def is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_every_benchmark_is_run_by_make_bench() -> None:
    folder = Path(runner.__file__).parent
    modules = {
        path.stem for path in folder.glob("*.py") if 'if __name__ == "__main__"' in path.read_text()
    }
    parts = {"__main__", "table", "peers", "batch_peers"}
    assert modules - parts == set(runner.LIMITS)


def test_a_name_that_is_none_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "nothing"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("There is no benchmark nothing: startup, ")
