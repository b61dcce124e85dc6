"""`tulu history export` and `import`."""

import json
from pathlib import Path

import pytest

from tests.chat.sessions import answered, chat
from tests.commands.history.run import Run, kept
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.errors import BadInput, TuluError, UsageError


def test_export_and_import(store: SqliteStore, run: Run, tmp_path: Path) -> None:
    session = answered(chat("Why?", "So.", system="Be brief.", name="mine"), "Because.")
    store.write(session)
    for suffix in ("md", "jsonl", "json", "html"):
        file = tmp_path / f"out.{suffix}"
        out, err, _ = run("export", "mine", "-o", str(file))
        assert out == ""
        assert "does not hold: 1 turns of other branches, 1 records of how" in err
        out, err, _ = run("import", str(file))
        assert err == ""
        assert store.load(out.strip()).conversation() == session.conversation()
    file = tmp_path / "all.json"
    assert run("export", "mine", "--format", "tulu", "-o", str(file))[1] == ""
    (new,) = run("import", str(file), "--name", "copy")[0].split()
    copy = store.load(new)
    assert (copy.nodes, copy.head, copy.name) == (session.nodes, session.head, "copy")
    again = store.load(run("import", str(file))[0].strip())
    assert again.name is None, "as the name is taken"


def test_export_writes_through_no_file_that_is_there(
    store: SqliteStore, run: Run, tmp_path: Path
) -> None:
    store.write(chat("Why?", "So.", name="mine"))
    out, own, other = tmp_path / "out.md", tmp_path / "out.md.part", tmp_path / "other"
    other.write_text("theirs")
    for name in (own, tmp_path / ".out.md", tmp_path / "out.md.tmp"):
        name.symlink_to(other)
    run("export", "mine", "-o", str(out))
    assert out.read_text().startswith("## user")
    assert (own.is_symlink(), other.read_text()) == (True, "theirs")
    run("export", "mine", "-o", str(out), "--force")
    assert sorted(path.name for path in tmp_path.glob("*out*")) == [
        ".out.md",
        "out.md",
        "out.md.part",
        "out.md.tmp",
    ]


def test_export_to_a_pipe_is_markdown_of_the_last_session(store: SqliteStore, run: Run) -> None:
    kept(store, chat("old"), days=1)
    kept(store, chat("new"))
    assert run("export") == ("## user\n\nnew\n", "", 0)
    everything = run("export", "--all", "--format", "jsonl")[0].splitlines()
    assert [json.loads(line)["messages"][0]["content"] for line in everything] == ["old", "new"]


def test_export_of_every_branch(store: SqliteStore, run: Run) -> None:
    session = answered(chat("Why?", "So."), "Because.")
    store.write(session)
    lines = run("export", session.id, "--branches", "--format", "jsonl")[0].splitlines()
    answers = [json.loads(line)["messages"][1]["content"] for line in lines]
    assert answers == ["So.", "Because."]


def test_what_export_refuses(store: SqliteStore, run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There are no sessions yet"):
        run("export")
    store.write(chat("one").undo())
    with pytest.raises(UsageError, match="nothing was said"):
        run("export")
    store.write(chat("two"))
    store.write(chat("three"))
    with pytest.raises(UsageError, match="markdown holds one conversation, and these are 2"):
        run("export", "--all")
    with pytest.raises(UsageError, match="no format 'pdf'"):
        run("export", "--format", "pdf")
    with pytest.raises(UsageError, match="cannot be combined"):
        run("export", "--all", "x")
    file = tmp_path / "there.md"
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists: --force writes over it"):
        run("export", "-o", str(file))
    assert file.read_text() == "mine"
    run("export", "-o", str(file), "--force")
    assert file.read_text() == "## user\n\nthree\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/out.md", "No such file or directory"),
        ("file/out.md", "Not a directory"),
        ("folder", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_written(
    store: SqliteStore, run: Run, tmp_path: Path, name: str, reason: str
) -> None:
    store.write(chat("one"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name)
    with pytest.raises(TuluError, match=f"^'{path}' cannot be written: {reason}.$"):
        run("export", "-o", path, "--force")
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "folder.part").exists()


def test_a_document_that_is_too_deep_is_refused(
    store: SqliteStore, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "deep.json"
    file.write_text("[" * 100_000)
    with pytest.raises(BadInput, match="nested too deeply"):
        run("import", str(file))
    assert store.summaries() == []


def test_an_import_is_of_all_or_of_nothing(store: SqliteStore, run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('[{"role": "user", "content": "x"}]\n')
    bad.write_text(good.read_text() * 2 + '{"messages": [{"role": 1}]}\n')
    with pytest.raises(BadInput, match=r"bad.jsonl line 3: messages\[0\].role must be a text"):
        run("import", str(good), str(bad))
    with pytest.raises(BadInput, match="No such file"):
        run("import", str(good), str(tmp_path / "nope"))
    with pytest.raises(UsageError, match="--name is for one session, and these are 2"):
        run("import", str(good), str(good), "--name", "x")
    with pytest.raises(UsageError, match="cannot be the name"):
        run("import", str(good), "--name", "a\nb")
    assert store.summaries() == []
