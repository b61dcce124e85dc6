"""`tulu batch` as its users run it: exactly once, whatever ends it."""

import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.program import (
    DEADLINE_SECONDS,
    NO_BYTE_CODE,
    TULU,
    environment,
    eventually,
    peak_memory,
    running,
    shell,
    tulu,
)

FAKE = ("batch", "--engine", "fake", "--greedy", "--max-tokens", "8")


@pytest.fixture
def model(demo_directory: Path) -> tuple[str, ...]:
    return ("-m", str(demo_directory))


def rows(count: int) -> bytes:
    made = ({"id": f"r{i}", "text": f"word {i} of many", "tag": i} for i in range(1, count + 1))
    return "".join(json.dumps(row) + "\n" for row in made).encode()


def records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_rows_in_and_records_out(model: tuple[str, ...]) -> None:
    stdin = rows(2) + b"\nnot json\n" + b'{"messages": [{"role": "user", "content": "hi"}]}\n'
    done = tulu(*FAKE, *model, stdin=stdin)
    assert done.returncode == 65
    first, second, bad, chat = records(done.stdout)
    assert first["text"] == "word 1 of many"
    assert first["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert (first["line"], first["id"], first["columns"]) == (1, "r1", {"tag": 1})
    assert (second["line"], second["finish_reason"]) == (2, "stop")
    assert bad["line"] == 4
    assert bad["error"]["code"] == "bad_input"
    assert "line 4 is not valid JSON" in bad["error"]["message"]
    assert (chat["line"], chat["finish_reason"]) == (5, "length")
    told, said = done.stderr.decode().splitlines()
    assert told.startswith("tulu: 4 rows, 1 error, ")
    assert said == "tulu: 1 of 4 rows could not be answered: their records in the output say why."


def test_an_empty_input_loads_no_engine_and_is_no_error() -> None:
    done = tulu("batch", "-m", "demo", "--engine", "fake", stdin=b"\n")
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_csv_with_a_template_and_openais_output(model: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,title\n7,the sea\n")
    done = tulu(
        *FAKE, *model, str(source), "--template", "Say {title}", "--output-format", "openai"
    )
    assert done.returncode == 0, done.stderr
    (made,) = records(done.stdout)
    body = made["response"]["body"]
    assert (made["custom_id"], made["error"]) == ("7", None)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["usage"]["completion_tokens"] == 8


def test_a_row_sets_its_own_sampling(model: tuple[str, ...]) -> None:
    own = (
        {"max_tokens": 2},
        {"n": 2, "stop": "word"},
        {"temperature": -1},
        {"colour": 3},
        {"n": 0},
    )
    lines = (json.dumps({"text": "one word two", "sampling": one}) for one in own)
    made = records(tulu(*FAKE, *model, stdin="\n".join(lines).encode()).stdout)
    assert made[0]["usage"]["completion_tokens"] == 2
    assert [choice["text"] for choice in made[1]["choices"]] == ["one ", "one "]
    said = [one["error"]["message"] for one in made[2:]]
    assert said[0] == "sampling.temperature takes 0 or more, not -1.0."
    assert said[1].startswith("sampling.colour is unknown: a row can set max_tokens, ")
    assert said[2] == "sampling.n takes a whole number from 1 to 1024."


def test_sampling_that_stands_beside_sampling_is_said_once(model: tuple[str, ...]) -> None:
    row = {"prompt": "one", "max_tokens": 2, "stop": "e", "colour": "red"}
    stdin = "\n".join([json.dumps({"prompt": "none"}), *[json.dumps(row)] * 2]).encode()
    said = "has max_tokens, stop as columns, which are only copied: a row sets its own in an"
    done = tulu(*FAKE, *model, "--max-tokens", "4", stdin=stdin)
    assert done.stderr.decode().count(said) == 1
    assert f"line 2 {said}" in done.stderr.decode() or f"line 3 {said}" in done.stderr.decode()
    made = [record.get("columns", {}).get("max_tokens") for record in records(done.stdout)]
    assert sorted(made, key=str) == [2, 2, None]
    done = tulu(*FAKE, *model, "--max-tokens", "4", "--template", "{stop} {max_tokens}",
                stdin=json.dumps(row).encode())  # fmt: skip
    assert said not in done.stderr.decode()


def test_a_row_that_is_too_long_or_breaks_the_structure_keeps_its_place(
    model: tuple[str, ...],
) -> None:
    long = json.dumps({"text": "word " * 3000})
    done = tulu(*FAKE, *model, "--choice", "yes", "--choice", "no", "--max-model-len", "2048",
                stdin=f'{{"text": "yes"}}\n{{"text": "maybe"}}\n{long}\n'.encode())  # fmt: skip
    assert done.returncode == 65
    yes, maybe, over = records(done.stdout)
    assert yes["text"] == "yes"
    assert maybe["text"] == "maybe"
    assert maybe["error"]["message"].startswith("The answer does not satisfy the choice")
    assert over["error"]["code"] == "prompt_too_long"


def test_answers_are_those_of_complete(model: tuple[str, ...]) -> None:
    sampling = ("--temperature", "0.9", "--seed", "5", "--max-tokens", "4")
    one = tulu("complete", "--engine", "fake", *model, *sampling, "--json", "hello you")
    many = tulu("batch", "--engine", "fake", *model, *sampling, stdin=b'{"prompt": "hello you"}')
    (made,) = records(many.stdout)
    (choice,) = json.loads(one.stdout)["choices"]
    assert (made["text"], made["seed"]) == (choice["text"], choice["seed"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume"], "need a file to write"),
        (["-o", "x", "--resume", "--overwrite"], "cannot be combined"),
        (["-o", "x", "--retry-errors"], "goes with --resume"),
        (["--format", "xml"], "--format takes auto, openai"),
        (["--output-format", "xml"], "--output-format takes tulu or openai"),
        (["--template", "{"], "--template"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], said: str) -> None:
    done = tulu("batch", "-m", "demo", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_inputs_and_outputs_that_cannot_be(model: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(rows(1))
    missing = tulu(*FAKE, *model, str(tmp_path / "none"))
    assert missing.returncode == 65
    assert b"cannot be read: No such file" in missing.stderr
    same = tulu(*FAKE, *model, str(source), "-o", str(source), "--overwrite")
    assert same.returncode == 2
    assert source.read_bytes() == rows(1)


def test_a_finished_output_is_not_touched_again(model: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert tulu(*FAKE, *model, "-o", str(output), stdin=rows(3)).returncode == 0
    before = output.read_bytes()
    refused = tulu(*FAKE, *model, "-o", str(output), stdin=rows(3))
    assert refused.returncode == 2
    again = tulu(*FAKE, *model, "-o", str(output), "--resume", stdin=rows(3))
    assert (again.returncode, output.read_bytes()) == (0, before)
    assert b"0 rows after 3 before" in again.stderr
    other = tulu(*FAKE, *model, "-o", str(output), "--resume", "--top-k", "5", stdin=rows(3))
    assert other.returncode == 2
    assert b"was begun with other settings" in other.stderr
    changed = tulu(*FAKE, *model, "-o", str(output), "--resume", stdin=rows(1) + b'{"text": "x"}')
    assert changed.returncode == 65
    assert b"Line 2 of the input is not the one" in changed.stderr
    assert output.read_bytes() == before


def test_errors_can_be_tried_again(model: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    stdin = b'{"text": "a"}\n{"text": "word word word word"}\n'
    short = (*FAKE, *model, "-o", str(output), "--max-model-len", "4")
    assert tulu(*short, stdin=stdin).returncode == 65
    kept = tulu(*short, "--resume", stdin=stdin)
    assert b"0 rows after 2 before" in kept.stderr
    again = tulu(*short, "--resume", "--retry-errors", stdin=stdin)
    assert again.returncode == 65
    assert b"1 row after 1 before, 1 error" in again.stderr
    assert [one["line"] for one in records(output.read_bytes())] == [1, 2]


@pytest.mark.parametrize(
    ("option", "written"), [(["--fail-fast"], 2), (["--max-errors", "1"], 4), ([], 6)]
)
def test_too_many_errors_stop_it(model: tuple[str, ...], option: list[str], written: int) -> None:
    stdin = b'{"text": "a"}\n{}\n' * 3
    done = tulu(*FAKE, *model, *option, stdin=stdin)
    assert done.returncode == 65
    assert len(records(done.stdout)) == written


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_what_is_ended_in_the_middle_goes_on_and_each_row_is_there_once(
    model: tuple[str, ...], tmp_path: Path, number: int
) -> None:
    source, output, whole = (tmp_path / name for name in ("in", "out", "whole"))
    source.write_bytes(rows(3000))
    command = (*FAKE, *model, str(source))
    with running(*command, "-o", str(output)) as process:
        assert eventually(lambda: output.exists() and output.stat().st_size > 20_000)
        process.send_signal(number)
        process.wait(DEADLINE_SECONDS)
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    some = output.read_bytes()
    some = some[: some.rfind(b"\n") + 1]  # a kill can tear a long write
    assert 0 < some.count(b"\n") < 3000
    output.write_bytes(some + b'{"line": 9, "id"')  # as a kill in the middle of a write leaves it
    done = tulu(*command, "-o", str(output), "--resume")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes().startswith(some)
    assert tulu(*command, "-o", str(whole)).returncode == 0
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())


def test_a_full_disk_is_one_sentence_and_goes_on_later(
    model: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    command = (*FAKE, *model, "-o", str(output))
    done = tulu(*command, stdin=rows(100), env=NO_BYTE_CODE, preexec_fn=small_files)
    assert done.returncode == 1
    assert b"out.jsonl' cannot be written: File too large" in done.stderr
    assert output.read_bytes().endswith(b"\n")
    assert tulu(*command, "--resume", stdin=rows(100)).returncode == 0
    assert [one["line"] for one in records(output.read_bytes())] == list(range(1, 101))


def test_a_reader_that_leaves_is_quiet(model: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(rows(3000))
    done = shell('"$@" | head -1; echo "${PIPESTATUS[0]}"', *FAKE, *model, str(source))
    first, code = done.stdout.splitlines()
    assert json.loads(first)["line"] == 1
    assert code == b"141"
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_stats_are_a_file_of_their_own(model: tuple[str, ...], tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    done = tulu(*FAKE, *model, "--stats", str(stats), stdin=rows(4))
    assert done.returncode == 0
    summary = json.loads(stats.read_text())
    assert (summary["answered"], summary["errors"], summary["completion_tokens"]) == (4, 0, 24)
    assert tulu(*FAKE, *model, "--stats", str(tmp_path), stdin=rows(1)).returncode == 1


def test_memory_does_not_grow_with_the_input(model: tuple[str, ...], tmp_path: Path) -> None:
    peaks = []
    for count in (50, 5000):
        source, output = tmp_path / "in", tmp_path / f"out-{count}"
        source.write_bytes(rows(count))
        command = (*TULU, *FAKE, *model, str(source), "-o", str(output))
        code, peak = peak_memory(command, environment())
        assert (code, output.read_bytes().count(b"\n")) == (0, count)
        peaks.append(peak)
    assert abs(peaks[1] - peaks[0]) < 8 * 1024, peaks


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
@pytest.mark.usefixtures("root")
def test_a_real_engine_answers_each_row_as_it_answers_it_alone(
    small_directory: Path, engine: str
) -> None:
    questions = ["What is the capital of France?", "Name a colour.", "Hello!"]
    stdin = "\n".join(json.dumps({"prompt": text}) for text in questions).encode()
    model = ("-m", str(small_directory))
    loaded = ("--engine", engine, "--dtype", "float32", "--max-model-len", "1024")
    greedy = ("--greedy", "--max-tokens", "6")
    # One that stays warm: in a process of its own each would load it again.
    assert tulu("serve", str(small_directory), *loaded, "--detach").returncode == 0
    done = tulu("batch", *model, *loaded, *greedy, "--in-order", stdin=stdin)
    assert done.returncode == 0, done.stderr
    made = records(done.stdout)
    assert [record["line"] for record in made] == [1, 2, 3]
    alone = [tulu("complete", *model, *loaded, *greedy, "--json", text) for text in questions]
    texts = [json.loads(one.stdout)["choices"][0]["text"] for one in alone]
    assert [record["text"] for record in made] == texts
    assert len(set(texts)) == len(questions)


def test_answers_are_verified_as_they_come(tmp_path: Path, demo_directory: Path) -> None:
    rows = [{"prompt": "Hi", "dataset": "gsm8k", "ground_truth": label} for label in ("5", None)]
    source, output = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fake = ("--engine", "fake", "-m", str(demo_directory), "-n", "2", "--in-order")
    options = ("batch", str(source), "-o", str(output), *fake)
    assert tulu(*options, "--verify", "auto").returncode == 65
    first, second = map(json.loads, output.read_text().splitlines())
    assert first["rule"] == "gsm8k"
    assert [one["verified"] for one in first["verdicts"]] == [False, False]
    assert "verdicts" not in second
    assert second["error"]["message"].startswith("line 2: the label must be a text or a number")
    assert len(second["choices"]) == 2
    assert tulu(*options, "--verify", "math", "--resume").returncode == 2  # another rule
    assert json.loads(tulu("verify", str(output)).stdout.splitlines()[0]) == first
    for wrong in (["--verify", "sql"], ["--verify", "auto", "--output-format", "openai"]):
        assert tulu("batch", str(source), *fake, *wrong).returncode == 2
