"""Shards: each row in one of them, whatever the order; and their outputs put together."""

import io
import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, eventually, running, tulu
from tulu_cli.batch import merge
from tulu_cli.batch.journal import Key, open_journal
from tulu_cli.batch.lines import digest, read_lines
from tulu_cli.batch.merge import MergeOptions, Ranges
from tulu_cli.batch.options import BatchOptions
from tulu_cli.batch.rows import id_of, read_row
from tulu_cli.batch.session import run
from tulu_cli.batch.shards import Shard, check_places, read_shard
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams


def shard_of(line: str, count: int) -> list[int]:
    (read,) = read_lines(io.BytesIO(line.encode()))
    shards = (Shard(number, count) for number in range(1, count + 1))
    return [one.number for one in shards if one.has(id_of(read), read.digest)]


def test_a_row_is_in_one_shard_by_its_id_or_else_by_its_text() -> None:
    rows = [json.dumps({"id": f"r{at}", "prompt": "x"}) for at in range(4000)]
    found = [shard_of(row, 8) for row in rows]
    assert all(len(one) == 1 for one in found)
    counts = [found.count([number]) for number in range(1, 9)]
    assert min(counts) > 400
    assert max(counts) < 600
    # Written in another way, a row with an id stays where it is; equal rows are together.
    assert shard_of('{"prompt": "y", "custom_id": "r7"}', 8) == found[7]
    assert shard_of('{"\\u0069d": "r7"}', 8) == found[7]
    assert shard_of('{"prompt": "x"}', 8) == shard_of('{"prompt": "x"}', 8)
    assert [len(shard_of(line, 3)) for line in ("not json", "[]", '{"id": {}}')] == [1, 1, 1]


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "prompt": "x"}',
        '{"custom_id": 7, "body": {}}',
        '{"\\u0069d": "a", "prompt": "x"}',
        '{"id": "a", "prompt": 3}',
        '{"id": true, "prompt": "x"}',
        '[{"role": "user", "content": "id"}]',
        '{"id": "a"',
        "\udcff",
    ],
)
def test_the_id_of_a_line_is_the_id_of_its_row(text: str) -> None:
    (line,) = read_lines(io.BytesIO(text.encode("utf-8", "surrogateescape")))
    assert id_of(line) == read_row(line).id


def slurm(task: int, count: int, first: int, last: int) -> dict[str, str]:
    names = {"ID": task, "COUNT": count, "MIN": first, "MAX": last}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


def sky(rank: int, count: int, what: str = "NODE", size: str = "NODES") -> dict[str, str]:
    return {f"SKYPILOT_{what}_RANK": str(rank), f"SKYPILOT_NUM_{size}": str(count)}


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("3/8", {}, "3/8"),
        ("1/1", slurm(3, 4, 0, 3), "1/1"),
        ("auto", slurm(0, 8, 0, 7), "1/8"),
        ("auto", slurm(8, 8, 1, 8), "8/8"),
        ("auto", slurm(15, 8, 1, 15), "8/8"),
        ("auto", slurm(104, 3, 100, 104), "3/3"),
        ("auto", slurm(5, 1, 5, 5), "1/1"),
        ("auto", sky(0, 4), "1/4"),
        ("auto", sky(3, 4) | slurm(1, 2, 1, 2), "1/2"),
        ("auto", sky(4, 10, "JOB", "JOBS"), "5/10"),
        ("auto", sky(4, 10, "JOB", "JOBS") | sky(0, 1), "5/10"),
        ("auto", sky(1, 3, "JOB", "JOBS") | sky(1, 2), "4/6"),
    ],
)
def test_a_shard_is_named_or_that_of_the_scheduler(
    text: str, environ: Mapping[str, str], expected: str
) -> None:
    assert str(read_shard(text, environ)) == expected


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("0/8", {}, "numbered from 1"),
        ("9/8", {}, "numbered from 1"),
        ("1/0", {}, "numbered from 1"),
        ("3", {}, "takes NUMBER/COUNT"),
        ("-1/8", {}, "takes NUMBER/COUNT"),
        ("\u0663/8", {}, "takes NUMBER/COUNT"),
        ("auto", {}, "no task of a Slurm array and no SkyPilot job"),
        ("auto", slurm(2, 3, 1, 9), "not evenly spaced"),
        ("auto", slurm(4, 4, 1, 9), "not evenly spaced"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT is ''"),
        ("auto", sky(4, 4), "numbered from 1"),
        ("auto", {"SKYPILOT_NODE_RANK": "x"}, "SKYPILOT_NODE_RANK is 'x'"),
    ],
)
def test_what_is_no_shard_is_one_sentence(text: str, environ: Mapping[str, str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_shard(text, environ)
    assert said in str(raised.value)


def test_files_that_shards_would_share_are_refused() -> None:
    shard = Shard(3, 8)
    assert shard.named("out/{shard}/a.{shard}.jsonl") == "out/3-of-8/a.3-of-8.jsonl"
    check_places(shard, "auto", {"-o": "a.{shard}", "--stats": None})
    check_places(shard, "auto", {"-o": "-"})
    check_places(shard, "3/8", {"-o": "a"})
    with pytest.raises(UsageError, match=r"^-o a is the same for all shards: .* 3-of-8 here"):
        check_places(shard, "auto", {"-o": "a"})
    with pytest.raises(UsageError, match=r"--stats has \{shard\}, and there is no --shard"):
        check_places(None, None, {"-o": "a", "--stats": "a.{shard}"})


def test_a_shard_goes_on_with_no_output_of_another_one(tmp_path: Path) -> None:
    path, name = tmp_path / "out.jsonl", "r1"
    row = digest(b"x")
    path.write_text(json.dumps({"id": name, "key": str(Key(1, row, 7))}) + "\n")
    numbers = [number for number in (1, 2, 3) if Shard(number, 3).has(name, row)]
    for number in (1, 2, 3):
        options: Any = {"resume": True, "overwrite": False, "shard": Shard(number, 3)}
        if number in numbers:
            open_journal(path, 7, **options).close()
            continue
        with pytest.raises(UsageError, match=f"has rows of another shard than {number}/3"):
            open_journal(path, 7, **options)


def record(line: int, row: int | None = None, settings: int = 7, **rest: Any) -> str:
    made = {"line": line, "key": str(Key(line, line if row is None else row, settings)), **rest}
    return json.dumps(made) + "\n"


def merged(folder: Path, *texts: str, rows: str | None = None) -> tuple[list[Any], str, str]:
    """The records of outputs put together, what was said, and the error."""
    names = []
    for number, text in enumerate(texts):
        names.append(str(folder / f"out.{number}.jsonl"))
        Path(names[-1]).write_text(text)
    if rows is not None:
        names.append(str(folder / "rows.jsonl"))
        Path(names[-1]).write_text(rows)
    streams, error = Streams.test(), ""
    try:
        merge.run(MergeOptions(tuple(names)), streams)
    except BadInput as raised:
        error = str(raised)
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    shown = [json.loads(line) for line in streams.stdout.getvalue().splitlines()]
    return shown, streams.stderr.getvalue().decode(), error


def test_records_are_put_in_order_and_those_that_are_there_twice_once(tmp_path: Path) -> None:
    no = {"message": "no"}
    first = record(9, text="a") + record(2, error=no) + record(3, text="a") + record(4, error=no)
    second = record(2, text="b") + record(3, text="b") + record(1, text="b") + '{"line": 5'
    made, said, wrong = merged(tmp_path, first, second, "")
    assert [(one["line"], one.get("text")) for one in made] == [
        *((1, "b"), (2, "b"), (3, "a"), (4, None), (9, "a"))
    ]
    assert said.splitlines() == [
        f"tulu: '{tmp_path / 'out.1.jsonl'}' ends in a record without an end: left out.",
        "tulu: there twice, and kept once: lines 2 to 3",
        "tulu: 1 row with an error",
        "tulu: 5 rows of 3 outputs",
        "tulu: without a record: lines 5 to 8, if they are rows; name the input to know.",
    ]
    assert wrong == ""


def test_the_input_tells_which_rows_are_missing(tmp_path: Path) -> None:
    texts = [f'{{"prompt": "{at}"}}' for at in range(1, 6)]
    rows = "\n".join((*texts[:2], "", *texts[2:])) + "\n"  # the third line is blank
    digests = {1: texts[0], 2: texts[1], 4: texts[2], 5: texts[3], 6: texts[4]}
    known = {line: record(line, digest(text.encode())) for line, text in digests.items()}
    made, said, wrong = merged(tmp_path, known[6] + known[1], known[2], rows=rows)
    assert [one["line"] for one in made] == [1, 2, 6]
    assert wrong.startswith(
        "Without a record: lines 4 to 5. A shard is unfinished or was not named"
    )
    _, said, wrong = merged(tmp_path, "".join(known.values()), rows=rows)
    assert (said, wrong) == ("tulu: 5 rows of 1 output\n", "")
    _, _, wrong = merged(tmp_path, known[1] + record(2, 99), rows=rows)
    assert "Line 2 of" in wrong
    _, _, wrong = merged(tmp_path, known[1] + record(44), rows=rows)
    assert "is not the input of the outputs, which have 1 row more" in wrong


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out.1.jsonl' was made with other settings than '.*0"):
        merged(tmp_path, record(1), record(2, settings=8))
    assert "they are shards of different inputs" in merged(tmp_path, record(1), record(1, 5))[2]
    names = [str(tmp_path / f"out.{number}.jsonl") for number in (0, 1)]
    journal = open_journal(Path(names[0]), 7, resume=True, overwrite=False)
    with pytest.raises(UsageError, match="is still writing"):
        merge.run(MergeOptions(tuple(names)), Streams.test())
    journal.close()
    others = [tmp_path / "a", tmp_path / "b"]
    for path in others:
        path.write_text('{"prompt": "x"}\n')
    for wrong, said in (
        (MergeOptions((names[0], names[0])), "named twice"),
        (MergeOptions(()), "name them"),
        (MergeOptions((names[0], *map(str, others))), "one input"),
        (MergeOptions((str(others[0]),)), "name them"),
        (MergeOptions((names[0],), output=names[0], overwrite=True), "would overwrite"),
        (MergeOptions((names[0],), output=str(others[0])), "is not empty: --overwrite"),
        (MergeOptions((names[0],), overwrite=True), "--overwrite needs a file"),
    ):
        with pytest.raises(UsageError) as raised:
            merge.run(wrong, Streams.test())
        assert said in str(raised.value)


def test_ranges_of_lines_are_told_shortly() -> None:
    ranges = Ranges()
    for line in (1, 2, 3, *range(10, 40, 2)):
        ranges.add(line, line)
    assert str(ranges) == "lines 1 to 3, 10, 12, 14, 16, 18, 20, 22, 24, 26 and 6 more"
    one = Ranges()
    one.add(1_000, 1_000)
    assert str(one) == "line 1,000"


def answered(source: Path, output: Path, model: Path, **options: Any) -> None:
    """Answer rows by the fake engine, in this process."""
    values = {"engine": "fake", "model": str(model), "temperature": 0.0, "max_tokens": 8}
    load = LoadOptions(Settings({name: Setting(value, "flag") for name, value in values.items()}))
    chosen = BatchOptions(load, str(source), str(output), **options)
    run(chosen, Streams.test(), Machine())


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_and_resumed_shards_make_the_output_of_one_run(
    demo_directory: Path, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    count = dice.randint(2, 5)
    rows = [{"text": f"word {at} of many", "tag": at} for at in range(1500)]
    for row in dice.sample(rows, 700):
        row["id"] = f"r{row['tag']}"
    source, whole, all_ = (tmp_path / name for name in ("rows.jsonl", "whole", "all"))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answered(source, whole, demo_directory, in_order=True)
    outputs = [tmp_path / f"out.{number}-of-{count}.jsonl" for number in range(1, count + 1)]
    killed = dice.randrange(count)
    command = ["batch", str(source), "-o", str(tmp_path / "out.{shard}.jsonl")]
    command += ["--engine", "fake", "-m", str(demo_directory), "--greedy", "--max-tokens", "8"]
    size = dice.randint(1, whole.stat().st_size // count // 2)
    with running(*command, "--shard", f"{killed + 1}/{count}") as process:
        path = outputs[killed]
        assert eventually(lambda: path.exists() and path.stat().st_size > size)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
    some = path.read_bytes()  # maybe all, on a slow machine
    path.write_bytes(some[: dice.randrange(size, len(some))])
    for number, output in enumerate(outputs, 1):
        shard = Shard(number, count)
        answered(source, output, demo_directory, resume=True, shard=shard)
    assert sum(path.read_bytes().count(b"\n") for path in outputs) == len(rows)
    names = (*map(str, dice.sample(outputs, count)), str(source))
    merge.run(MergeOptions(names, output=str(all_)), Streams.test())
    assert all_.read_bytes() == whole.read_bytes()
    # What is merged is an output like any other: it goes on where a shard is missing.
    others = tuple(map(str, outputs[1:]))
    merge.run(MergeOptions(others, output=str(all_), overwrite=True), Streams.test())
    answered(source, all_, demo_directory, resume=True)
    assert sorted(all_.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())


def test_shards_on_the_command_line(demo_directory: Path, tmp_path: Path) -> None:
    rows = b"".join(b'{"text": "word %d"}\n' % at for at in range(9))
    fake = ("batch", "--engine", "fake", "-m", str(demo_directory), "--greedy", "--shard", "auto")
    output = str(tmp_path / "out.{shard}.jsonl")
    for task in (2, 4):
        done = tulu(*fake, "-o", output, stdin=rows, env=slurm(task, 2, 2, 4))
        assert done.returncode == 0, done.stderr
        assert f"tulu: shard {task // 2}/2, into ".encode() in done.stderr
    same = tulu(*fake, "-o", str(tmp_path / "out"), stdin=rows, env=slurm(2, 2, 2, 4))
    assert (same.returncode, same.stderr.startswith(b"tulu: -o ")) == (2, True)
    source = tmp_path / "rows"
    source.write_bytes(rows)
    names = [str(path) for path in sorted(tmp_path.glob("out.*"))]
    done = tulu("batch", "--merge", *names, str(source), "-o", str(tmp_path / "all"))
    assert done.returncode == 0, done.stderr
    made = [json.loads(line)["line"] for line in (tmp_path / "all").read_text().splitlines()]
    assert made == list(range(1, 10))
    asked = tulu("batch", "--merge", *names, "-n", "2")
    assert asked.stderr == b"tulu: --merge answers nothing: leave -n out.\n"
