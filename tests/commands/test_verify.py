"""`tulu verify` as its users run it: streams, files, kills, processes and exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.program import environment, eventually, peak_memory, pipe, running, shell, tulu

RIGHT = {"dataset": "gsm8k", "ground_truth": "5", "response": "It is 5."}
WRONG = RIGHT | {"response": "It is 6."}


def written(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def slow_rows(count: int) -> list[dict[str, str]]:
    """Rows of which each needs sympy, and of which few go into a piece."""
    return [
        {
            "dataset": "MATH",
            "ground_truth": rf"\frac{{{number}}}{{7}}x",
            "response": "so " * 2000 + rf"\boxed{{\frac{{{number + number % 2}}}{{7}}x+0}}",
        }
        for number in range(count)
    ]


def test_rows_come_back_in_order_with_their_verdicts(tmp_path: Path) -> None:
    done = tulu("verify", written(tmp_path / "a.jsonl", RIGHT, WRONG))
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["verified"], row["reward"], row["extracted"]) for row in rows] == [
        (True, 10, "5"),
        (False, 0, "6"),
    ]
    assert done.stderr.decode().splitlines() == [
        "tulu: 2 rows",
        "gsm8k: 2 rows, 2 answers, 1 verified; pass@1 50.0%",
        "  reward 5.00 ± 7.07 (mean, spread); 0.0% cut before the end token",
        "  length 8 characters verified, 8 not",
    ]


def test_stdin_is_read_and_a_label_that_is_none_fails_alone_with_its_line() -> None:
    lines = [RIGHT, RIGHT | {"ground_truth": None}, WRONG]
    data = b"\xef\xbb\xbf" + json.dumps(lines[0]).encode() + b"\r\n\n  \n"
    data += b"\n".join(json.dumps(line).encode() for line in lines[1:]) + b"\n{torn"
    done = tulu("verify", "--jobs", "2", stdin=data)
    assert done.returncode == 65
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("verified") for row in rows] == [True, None, False, None]
    assert rows[1]["error"]["message"].startswith("line 4: the label must be a text")
    assert rows[3]["error"]["message"].startswith("line 6 is not valid JSON")
    assert done.stderr.decode().splitlines()[-1] == (
        "tulu: 2 of 4 rows could not be verified. The first: line 4: the label must be a text or a "
        "number, and it is null."
    )


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    done = tulu("verify", stdin=b"\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"tulu: 0 rows\n")


def test_what_tulu_batch_writes_can_be_verified(tmp_path: Path, demo_directory: Path) -> None:
    asked = [{"prompt": "Say 5.", "dataset": "gsm8k", "ground_truth": "5"}, {"prompt": "Hi"}]
    source, answers = written(tmp_path / "a.jsonl", *asked), str(tmp_path / "b.jsonl")
    fake = ("--engine", "fake", "-m", str(demo_directory), "-n", "4", "--in-order")
    done = tulu("batch", source, "-o", answers, *fake)
    assert done.returncode == 0, done.stderr
    found = tulu("verify", answers, "--rule", "regex:a", "--summary", str(tmp_path / "s.json"))
    assert found.returncode == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [len(row["verdicts"]) for row in rows] == [4, 4]
    summary = json.loads((tmp_path / "s.json").read_text())["rules"]["regex:a"]
    assert (summary["answers"], set(summary["pass"])) == (8, {"1", "2", "4"})
    assert tulu("verify", answers).returncode == 65  # the second row has no dataset


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--era", "2023"], "--era takes now or 2024"),
        (["--rule", "sql"], "There is no rule"),
        (["--rule", "regex:("], "not a regular expression"),
        (["--against", "sql"], "There is no rule"),
        (["--resume"], "need a file"),
        (["--overwrite"], "need a file"),
        (["-o", "x", "--resume", "--overwrite"], "cannot be combined"),
        (["-o", "x", "--resume", "--against", "2024"], "--against"),
        (["--summary", "x", "--against", "2024"], "--summary"),
        (["--explain", "1", "-o", "x"], "leave -o out"),
        (["--explain", "1", "--against", "now"], "leave --against out"),
        (["--rule", "choice", "--against", "2024"], "has no eras"),
        (["--against", "now"], "with itself"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_what_cannot_be_asked(options: list[str], problem: str, tmp_path: Path) -> None:
    row = RIGHT | {"ground_truth": "B"} if "choice" in options else RIGHT
    done = tulu("verify", written(tmp_path / "a.jsonl", row), *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert problem in done.stderr.decode().splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_files_that_are_not_there_or_not_ours(tmp_path: Path) -> None:
    source, output = written(tmp_path / "a.jsonl", RIGHT), str(tmp_path / "b.jsonl")
    assert tulu("verify", str(tmp_path / "none")).returncode == 65
    assert tulu("verify", source, "--rule", f"python:{tmp_path / 'none'}").returncode == 65
    assert tulu("verify", source, "-o", source, "--overwrite").returncode == 2
    assert tulu("verify", source, "-o", str(tmp_path)).returncode == 1
    Path(output).write_text("mine\n")
    refused = tulu("verify", source, "-o", output)
    assert (refused.returncode, b"is not empty" in refused.stderr) == (2, True)
    assert tulu("verify", source, "-o", output, "--resume").returncode == 65
    assert Path(output).read_text() == "mine\n"
    assert tulu("verify", source, "-o", output, "--overwrite").returncode == 0
    assert json.loads(Path(output).read_text())["verified"] is True


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    rows = [
        {**RIGHT, "response": f"It is {number % 7}.", "id": number, "pad": "x" * 100}
        for number in range(3000)
    ]
    rows[1234] = {"odd": True}
    source = written(tmp_path / "a.jsonl", *rows)
    one, two, four = (tulu("verify", source, "--jobs", jobs) for jobs in "124")
    assert one.stdout.count(b"\n") == 3000
    assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)
    assert four.stdout == one.stdout


@pytest.mark.parametrize(
    ("end", "jobs"), [(signal.SIGKILL, "1"), (signal.SIGINT, "2"), (signal.SIGTERM, "2")]
)
def test_a_run_that_is_ended_goes_on(end: signal.Signals, jobs: str, tmp_path: Path) -> None:
    source, output = written(tmp_path / "a.jsonl", *slow_rows(24)), tmp_path / "b.jsonl"
    options = ("verify", source, "-o", str(output), "--resume", "--jobs", jobs)
    with running(*options) as process:
        assert eventually(lambda: output.exists() and output.read_bytes().count(b"\n") > 2)
        os.killpg(process.pid, end) if end == signal.SIGINT else process.send_signal(end)
        code = process.wait()
        said = pipe(process.stderr).read().decode()
    before = output.read_bytes()
    assert before.count(b"\n") < 24
    assert code == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[end]
    assert ("; stopped; --resume goes on" in said) == (end != signal.SIGKILL)
    assert eventually(lambda: not children_of(source))
    with output.open("ab") as file:
        file.write(b'{"torn')
    done = tulu(*options)
    assert done.returncode == 0, done.stderr
    assert f"after {before.count(bytes([10]))} before" in done.stderr.decode()
    assert output.read_bytes().startswith(before)
    whole = tulu("verify", source, "-o", "-", "--jobs", "1")
    assert output.read_bytes() == whole.stdout
    assert done.stderr.splitlines()[1:] == whole.stderr.splitlines()[1:]
    assert tulu(*options).stderr.startswith(b"tulu: 0 rows after 24 before\n")


def children_of(source: str) -> list[int]:
    """The processes that have this file in their command line, zombies aside."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if source.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def test_it_goes_on_only_with_the_same_rows_and_the_same_rule(tmp_path: Path) -> None:
    source, output = written(tmp_path / "a.jsonl", RIGHT, WRONG), str(tmp_path / "b.jsonl")
    assert tulu("verify", source, "-o", output).returncode == 0
    before = Path(output).read_bytes()
    other = written(tmp_path / "c.jsonl", RIGHT, RIGHT, WRONG)
    for options in ([other], [source, "--era", "2024"], [written(tmp_path / "d.jsonl", RIGHT)]):
        refused = tulu("verify", *options, "-o", output, "--resume")
        assert refused.returncode == 2
        assert b"--overwrite starts again" in refused.stderr
    assert Path(output).read_bytes() == before
    more = written(tmp_path / "e.jsonl", RIGHT, WRONG, RIGHT)
    assert tulu("verify", more, "-o", output, "--resume").returncode == 0
    assert Path(output).read_bytes().count(b"\n") == 3


def test_only_one_run_writes_a_file(tmp_path: Path) -> None:
    source, output = written(tmp_path / "a.jsonl", *slow_rows(60)), tmp_path / "b.jsonl"
    with running("verify", source, "-o", str(output)):
        assert eventually(lambda: output.exists() and output.stat().st_size > 0)
        refused = tulu("verify", source, "-o", str(output), "--resume")
    assert (refused.returncode, b"Another tulu verify" in refused.stderr) == (2, True)


def test_a_closed_stdout_ends_it_quietly(tmp_path: Path) -> None:
    rows = [{**RIGHT, "pad": "x" * 1000}] * 3000
    source = written(tmp_path / "a.jsonl", *rows)
    for jobs in "12":
        done = shell('"$@" | head -n 1 > /dev/null; exit ${PIPESTATUS[0]}', "verify", source,
                     "--jobs", jobs)  # fmt: skip
        assert done.returncode == 141
        assert b"Traceback" not in done.stderr


def test_a_full_disk_is_told() -> None:
    row = json.dumps(RIGHT).encode()
    done = tulu("verify", "-o", "/dev/full", stdin=row)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


def test_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    long = "x" * 10_000_000 + " It is 5."
    math = {"dataset": "MATH", "ground_truth": "5", "response": long + r" \boxed{5}"}
    rows = [{**RIGHT, "response": long}, math]
    done = tulu("verify", written(tmp_path / "a.jsonl", RIGHT, *rows, WRONG))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("verified") for row in found] == [True, True, True, False]
    assert len(found[1]["response"]) == len(long)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    row = json.dumps({**RIGHT, "pad": "x" * 2000}) + "\n"
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text(row * 1000)
    large.write_text(row * 30_000)
    command = (sys.executable, "-m", "tulu_cli", "verify", "--jobs", "1")
    peaks = [peak_memory((*command, str(path)), environment()) for path in (small, large)]
    assert [code for code, _ in peaks] == [0, 0]
    assert peaks[1][1] - peaks[0][1] < 8_000  # KiB; the files differ by 60 MB


def test_explain_tells_both_eras(tmp_path: Path) -> None:
    row = {
        "dataset": "gsm8k",
        "ground_truth": "-3",
        "response": "It is\n-3.",
        "finish_reason": "stop",
    }
    source = written(tmp_path / "a.jsonl", RIGHT, row)
    done = tulu("verify", source, "--explain", "2")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "line 2: rule gsm8k, label '-3'",
        "answer 1 of 1: 9 characters, ended by stop",
        "  | It is",
        "  | -3.",
        "  gsm8k: verified, reward 10",
        "    the last number is '-3', and the label is '-3'",
        "  gsm8k-2024: not verified, reward 0",
        "    the last number is '3', and the label is '-3': in 2024 an integer lost its sign",
    ]
    missing = tulu("verify", source, "--explain", "3")
    assert (missing.returncode, missing.stdout) == (65, b"")
    assert b"There is no line 3" in missing.stderr


def test_against_lists_the_answers_on_which_two_rules_disagree(tmp_path: Path) -> None:
    row = {"id": "a", "dataset": "gsm8k", "ground_truth": "-3", "responses": ["-3", "3", "4"]}
    source = written(tmp_path / "a.jsonl", RIGHT, row)
    done = tulu("verify", source, "--against", "2024")
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["line"], one["id"], one["answer"]) for one in found] == [(2, "a", 0)]
    assert (found[0]["gsm8k"]["verified"], found[0]["gsm8k-2024"]["verified"]) == (True, False)
    assert done.stderr.decode() == (
        "tulu: 2 rows, 4 answers; 1 with different verdicts: 1 verified by the rule alone, "
        "0 by the other alone\n"
    )


def test_against_math_verify(tmp_path: Path) -> None:
    rows = [
        {"dataset": "MATH", "ground_truth": "1<x<2", "response": "so $(1,2)$"},
        {"dataset": "MATH", "ground_truth": "5", "response": r"so $\boxed{5}$"},
    ]
    done = tulu("verify", written(tmp_path / "a.jsonl", *rows), "--against", "math-verify")
    (found,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (found["line"], found["math"]["verified"]) == (1, False)
    assert found["math-verify"]["verified"] is True


def test_a_missing_library_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "antlr4.py").write_text("raise ImportError('no antlr4', name='antlr4')")
    (tmp_path / "langdetect.py").write_text("raise ImportError('x', name='langdetect')")
    label = json.dumps({"func_name": "validate_response_language", "language": "de"})
    rows = {
        "antlr4": {"dataset": "MATH", "ground_truth": "x", "response": "$y$"},
        "langdetect": {"dataset": "ifeval", "ground_truth": label, "response": "ja"},
    }
    for name, row in rows.items():
        for jobs in "12":
            path = {"PYTHONPATH": str(tmp_path)}
            done = tulu("verify", "--jobs", jobs, stdin=json.dumps(row).encode(), env=path)
            assert done.returncode == 1
            assert done.stderr.decode().splitlines()[-1] == (
                f"tulu: This rule needs {name}: pip install 'tulu_cli[verify]'."
            )


def test_a_terminal_shows_no_commands_of_an_answer(tmp_path: Path) -> None:
    row = {**RIGHT, "response": "\x1b[31m5"}
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} -m tulu_cli verify --explain 1 a.jsonl", "/dev/null"],
        env=environment(), cwd=written(tmp_path / "a.jsonl", row) and tmp_path,
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert b"\x1b[31m" not in done.stdout
    assert b"[31m5" in done.stdout
