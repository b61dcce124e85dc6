"""What the benchmarks' report and table make of figures; the figures themselves are no test's."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.benchmarks import __main__ as runner
from tests.benchmarks.report import Goal, Row, at_least, at_most, keep, number, shown_ratio
from tests.benchmarks.table import read_figures, tables
from tests.program import environment, eventually


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "ratio", "met"),
    [
        (at_most(1.6), 0.16, 0.1, "1.6", True),
        (at_most(1.6), 0.17, 0.1, "1.7", False),
        (at_least(0.95), 94, 100, "0.94", False),
        (at_least(10, "gain"), 0.2, 4, "20 times", True),
        (at_least(10, "gain"), 2, 4, "2 times", False),
        (at_most(30, "more"), 85, 54, "1.57", False),
        (at_most(0, "ours"), 0, 0, "-", True),
        (at_most(0, "ours"), 1, 0, "-", False),
        (at_most(1), 1, 0, "-", None),
        (Goal(), 1, 2, "0.5", None),
    ],
)
def test_a_goal_is_judged(
    goal: Goal, ours: float, peer: float, ratio: str, met: bool | None
) -> None:
    row = Row("what", ours, "peer", peer, "s", goal)
    assert (shown_ratio(row), row.met) == (ratio, met)


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
    other = Row("a | b", 1, "peer", 2, "s")
    keep([Row("plan", 9, "typer", 3, "s", at_most(1.6)), other])
    keep([Row("plan", 3, "typer", 3, "s", at_most(1.6))])
    made = list(tables(read_figures(file.read_text().splitlines())))
    command = "`python -m tests.benchmarks.plan 3`"
    assert made[2:] == [
        "| what | ours | peer | ratio | goal |  | command |",
        "|---|---|---|---|---|---|---|",
        f"| plan | 3 s | typer: 3 s | 1 | at most 1.6 | met | {command} |",
        f"| a \\| b | 1 s | peer: 2 s | 0.5 | reported | - | {command} |",
    ]
    (said, *_) = made
    machine = json.loads(file.read_text().splitlines()[-1])["machine"]
    assert said[4] == said[7] == "-", "the day"
    assert f"{machine['cores']} cores" in said
    assert machine["packages"]["typer"] in said


def test_figures_of_two_machines_are_two_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(sys, "argv", ["plan.py"])
    keep([Row("figure", 1, "peer", 2, "s")])
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
