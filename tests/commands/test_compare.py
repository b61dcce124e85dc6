"""`tulu compare` from its options to what is shown, and the keys of a voter at a terminal."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.completions.terminal import Terminal
from tests.program import environment, tulu
from tulu_cli.comparison.options import CompareOptions
from tulu_cli.comparison.session import run
from tulu_cli.engines import fake
from tulu_cli.errors import BadInput, EngineDied, TuluError, UsageError
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

# The second model is cut after two tokens; they answer the first row alike.
ROWS = ("one", "one two three", "four five six", "seven eight nine ten")


@pytest.fixture
def models(demo_directory: Path) -> CompareOptions:
    """Two models, for which the fake engine stands."""
    values: dict[str, Any] = {"engine": "fake", "model": str(demo_directory), "temperature": 0.0}
    whole = {name: Setting(value, "flag") for name, value in values.items()}
    cut = whole | {"max_tokens": Setting(2, "flag")}
    loads = {"whole": LoadOptions(Settings(whole)), "cut": LoadOptions(Settings(cut))}
    return CompareOptions(models=loads)


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ROWS))
    return str(path)


def outcome(
    chosen: CompareOptions, stdin: bytes = b"", error: type[BaseException] | None = None
) -> tuple[str, str]:
    """stdout and stderr of a run that ends as expected."""
    streams = Streams.test(stdin)
    if error is None:
        run(chosen, streams, Machine())
    else:
        with pytest.raises(error):
            run(chosen, streams, Machine())
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stdout.getvalue().decode(), streams.stderr.getvalue().decode()


def test_blocks_of_the_answers_and_one_object_a_row(models: CompareOptions, rows: str) -> None:
    shown, said = outcome(replace(models, source=rows))
    blocks = shown.split("## line ")[1:]
    assert len(blocks) == len(ROWS)
    assert blocks[0] == "1: one\n\n### whole\none\n\n### cut\none\n\n"
    assert blocks[1].startswith("2: one two three\n\n### whole\none two three\n\n### cut (cut by a")
    assert [line for line in said.splitlines() if line.endswith("answers:")] == [
        "tulu: whole answers:",
        "tulu: cut answers:",
    ]
    made = [json.loads(line) for line in outcome(replace(models, source=rows, json_output=True))[
        0].splitlines()]  # fmt: skip
    assert [one["prompt"] for one in made] == list(ROWS)
    first, second = made[1]["answers"]
    assert (first["model"], first["text"], first["finish_reason"]) == (
        "whole",
        "one two three",
        "stop",
    )
    assert second["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_prompt_is_one_row_without_a_heading(models: CompareOptions) -> None:
    shown, _ = outcome(replace(models, source="Hi\nfake: say ok then"))
    assert shown.startswith("### whole\nok then\n\n### cut (cut by a limit)\nok")


def test_what_has_come_is_shown_if_the_second_model_ends(
    models: CompareOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = iter([None, EngineDied("gone")])
    honest = fake.FakeEngine.batch

    def batch(self: fake.FakeEngine, requests: Any) -> Iterator[Any]:
        if error := next(died):
            raise error
        yield from honest(self, requests)

    monkeypatch.setattr(fake.FakeEngine, "batch", batch)
    shown, said = outcome(replace(models, source="Hi\nfake: say ok"), error=EngineDied)
    assert shown == "### whole\nok\n\n### cut (not answered)\n\n"
    assert "--resume" not in said, "nothing is kept that it could go on with"


def test_votes_are_kept_and_gone_on_with(models: CompareOptions, rows: str, tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    blind = replace(models, source=rows, blind=True, output=str(path))
    shown, said = outcome(blind, b"a\nq\n")
    assert shown.count("### A") == 2
    assert "whole" not in shown.partition("model ")[0], "the models are not named"
    assert "tulu: equal answers, and so ties: 1 row" in said
    assert "tulu: 1 vote added to" in said
    kept = path.read_bytes()
    with pytest.raises(UsageError, match="is not empty: --resume"):
        run(blind, Streams.test(), Machine())
    # A torn line, as a kill leaves it, and a line of a pipe that is no vote.
    path.write_bytes(kept + b'{"line": 4, "mod')
    shown, said = outcome(replace(blind, resume=True), b"t\nx\n", BadInput)
    assert "0 rows after 4 before" in said, "no answer is made twice"
    assert shown.count("### A") == 2
    shown, said = outcome(replace(blind, resume=True), b"B\n")
    assert shown.count("### A") == 1
    votes = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_bytes().startswith(kept)
    assert [(one["line"], one["vote"], one["by"]) for one in votes] == [
        (1, "tie", "equal answers"),
        (2, "A", "voter"),
        (3, "tie", "voter"),
        (4, "B", "voter"),
    ]
    assert len({one["seed"] for one in votes}) == 1
    assert all(one["winner"] == one["order"]["AB".index(one["vote"])] for one in votes[1::2])
    table = shown[shown.index("model ") :]
    assert "4 votes, 2 ties" in table
    assert outcome(CompareOptions(files=(str(path),)))[0] == table
    summary = json.loads(outcome(CompareOptions(files=(str(path),), json_output=True))[0])
    assert (summary["votes"], summary["ties"]) == (4, 2)
    for other in (replace(blind, order_seed=votes[0]["seed"] + 1), replace(
        blind, models=dict(reversed(list(models.models.items()))))):  # fmt: skip
        with pytest.raises(UsageError):
            run(replace(other, resume=True), Streams.test(), Machine())
    # The answers beside the votes are outputs of tulu batch, and can be compared by themselves.
    files = tuple(map(str, sorted((tmp_path / "votes.answers").iterdir())))
    shown, _ = outcome(CompareOptions(files=files, source=rows))
    assert shown.count("## line ") == len(ROWS)


def test_votes_on_others_are_refused_before_anything_is_asked(
    models: CompareOptions, tmp_path: Path
) -> None:
    votes = tmp_path / "votes.jsonl"
    chosen = replace(models, source="Hi", blind=True, output=str(votes))
    outcome(chosen, b"a\n")
    whole, cut = models.models.items()
    for changes in ({"models": dict([cut, whole])}, {"order_seed": -1}):
        other = replace(chosen, resume=True, **changes)
        assert outcome(other, b"a\n", UsageError) == ("", "")


def test_rows_without_a_partner_are_counted(
    models: CompareOptions, rows: str, tmp_path: Path
) -> None:
    blind = replace(models, source=rows, blind=True, output=str(tmp_path / "votes.jsonl"))
    outcome(blind)
    first, second = map(str, sorted((tmp_path / "votes.answers").iterdir()))
    lines = Path(second).read_text().splitlines(keepends=True)
    Path(second).write_text("".join(lines[2:]))
    shown, said = outcome(CompareOptions(files=(first, second)))
    assert shown.count("## line ") == 2
    assert f"tulu: without a partner, and left out: 2 rows of {first}\n" in said
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"text": ROWS[3]}) + "\n")
    shown, said = outcome(CompareOptions(files=(first, second), source=str(other)))
    assert shown.startswith("## line 1: seven eight nine ten\n")
    assert f"tulu: not in {other}, and left out: 1 row\n" in said
    Path(second).write_text("")
    with pytest.raises(BadInput, match="have no row in common"):
        run(CompareOptions(files=(first, second)), Streams.test(), Machine())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Name two models or more"),
        ({"files": ("hello",)}, "Name two models or more"),
        ({"files": ("a.jsonl",)}, "'a.jsonl' cannot be read: No such file"),
        ({"files": ("a", "a")}, "A file is named twice"),
        ({"files": ("a", "-")}, "must be files"),
        ({"files": ("a", "b"), "output": "x"}, "-o is for the votes of --blind"),
        ({"files": ("a", "b"), "resume": True}, "--resume is for the votes"),
        ({"files": ("a", "b"), "blind": True}, "--blind needs a file for the votes"),
        ({"files": ("a", "b"), "blind": True, "output": "a"}, "would overwrite"),
        ({"files": ("a", "b"), "blind": True, "json_output": True}, "leave --json out"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TuluError) as raised:
        run(CompareOptions(**options), Streams.test(), Machine())
    assert said in str(raised.value)


def test_keys_at_a_wide_terminal_vote_and_ctrl_c_loses_none(
    models: CompareOptions, rows: str, tmp_path: Path
) -> None:
    path = tmp_path / "votes.jsonl"
    outcome(replace(models, source=rows, blind=True, output=str(tmp_path / "x.jsonl")))
    files = tuple(map(str, sorted((tmp_path / "x.answers").iterdir())))
    command = [sys.executable, "-m", "tulu_cli", "compare", *files, "--prompts", rows]
    command += ["--blind", "-o", path.name, "--order-seed", "5"]
    terminal = Terminal(command, environment(), tmp_path)
    try:
        terminal.see("one two three", " │ B", "A, B or t for a tie, q to stop:")
        terminal.type("x")
        terminal.see("q to stop: ?")
        terminal.type("b")
        terminal.see("q to stop: B", "four five six")
        terminal.type("\x03")
        terminal.see("1 vote added to", "--resume goes on")
        assert terminal.process.wait() == 130
    finally:
        terminal.close()
    votes = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["vote"] for one in votes] == ["tie", "B"]


def test_models_are_named_with_their_settings_on_the_command_line(
    demo_directory: Path, tmp_path: Path
) -> None:
    model = str(demo_directory)
    options = ("--engine", "fake", "--greedy", "-m", model, "-m", f"{model},max_tokens=2")
    done = tulu("compare", *options, "--json", "fake: say one two three")
    assert done.returncode == 0, done.stderr
    (made,) = map(json.loads, done.stdout.splitlines())
    assert [one["text"] for one in made["answers"]] == ["one two three", "one two"]
    assert [one["model"] for one in made["answers"]] == [model, f"{model},max_tokens=2"]
    wrong = tulu("compare", "-m", "8b,fast=1", "-m", "8b", "Hi")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr.startswith(b"tulu: -m 8b,fast=1: there is no setting 'fast'.")
    several = ("--server", "http://a", "--server", "http://b")
    wrong = tulu("compare", "-m", "8b", "-m", "8b,seed=2", *several, "Hi")
    assert wrong.stderr == b"tulu: One server answers here: give --server once.\n"
    alone = f"{model},server=http://127.0.0.1:1"  # --mixed is for the other model's servers
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi"}')
    rows = ("--mixed", "--", str(tmp_path / "rows.jsonl"))
    several = ("--server", "http://127.0.0.1:2", "--server", "http://127.0.0.1:3")
    mixed = tulu("compare", "-m", model, "-m", alone, *several, *rows)
    assert mixed.stderr.startswith(b"tulu: None of 2 servers answers."), mixed.stderr
    mixed = tulu("compare", "-m", model, "-m", alone, *rows)
    assert mixed.stderr == b"tulu: --mixed goes with several servers: --server names each.\n"
    files = tulu("compare", "a.jsonl", "b.jsonl", "--greedy", "--format", "csv")
    assert files.returncode == 2
    assert files.stderr == (
        b"tulu: Outputs of tulu batch have their answers already: leave --format out.\n"
    )
    long = tulu("compare", "word " * 100)
    assert (long.returncode, long.stderr[:30]) == (2, b"tulu: Name two models or more ")
