"""`tulu history`: each verb on a history of its own."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chat.sessions import answered, chat
from tests.program import tulu
from tests.test_startup import HEAVY, watched
from tulu_cli import main
from tulu_cli.chat.place import history_path, open_history
from tulu_cli.chat.session import Session
from tulu_cli.chat.sqlite import SqliteStore
from tulu_cli.commands.history import delete, list_, prune, search, show
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.streams import Streams

NOW = 1_800_000_000.0
DAY = 86400.0


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SqliteStore]:
    """The history that the verbs work on."""
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path))
    opened = open_history(history_path(), pytest.fail)
    yield opened
    opened.close()


Run = Callable[..., tuple[str, str, int]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """A verb as argv in this process: stdout, stderr and the exit code."""

    def history(*arguments: str) -> tuple[str, str, int]:
        code = main.run(["history", *arguments])
        return *capfd.readouterr(), code

    return history


def kept(store: SqliteStore, *sessions: Session, days: float = 0) -> None:
    """Write sessions so many days before NOW."""
    store._clock = lambda: NOW - days * DAY
    for session in sessions:
        store.write(session)


def terminal(typed: bytes = b"", width: int = 80, *, color: bool = False) -> Streams:
    streams = Streams.test(typed, tty=True, color=color)
    streams.width = width
    return streams


def shown(streams: Streams) -> str:
    assert isinstance(streams.stdout, io.BytesIO)
    return streams.stdout.getvalue().decode()


def talk(streams: Streams) -> str:
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stderr.getvalue().decode()


def test_a_pipe_gets_the_list_with_tabs(store: SqliteStore, run: Run) -> None:
    one, two = chat("Why\tis\nthe sky blue?", "So."), chat("二", name="two")
    kept(store, one)
    kept(store, two, days=-1)
    lines = [line.split("\t") for line in run("list")[0].splitlines()]
    assert lines == [
        [two.id, "2027-01-16T08:00:00Z", "1", "two", "二"],
        [one.id, "2027-01-15T08:00:00Z", "2", "", "Why is the sky blue?"],
    ]
    assert run("list", "--limit", "1")[0].count("\n") == 1
    (value, _) = json.loads(run("list", "--json")[0])
    assert value["name"] == "two"
    assert value["updated"] == "2027-01-16T08:00:00Z"


@pytest.mark.parametrize("width", [120, 80, 79, 50, 49, 20])
def test_a_terminal_gets_a_list_that_fits(store: SqliteStore, width: int) -> None:
    from rich.cells import cell_len

    kept(store, chat("天空はなぜ青い \x1b[2J " * 9, name="sky"), days=3)
    streams = terminal(width=width)
    list_.run(streams, NOW, limit=None, json_output=False)
    (line,) = shown(streams).splitlines()
    assert cell_len(line) <= width
    assert "\x1b" not in line
    assert ("3 days ago" in line) == (width >= 50)
    assert ("2027-01-1" in line) == (width >= 80)
    assert ("[sky] 天" in line) == (width >= 25)


def test_an_empty_history_is_said_and_not_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path / "none"))
    assert run("list") == ("", "tulu: there are no sessions yet; `tulu chat` begins one.\n", 0)
    assert run("list", "--json")[0] == "[]\n"
    assert run("search", "x")[1:] == ("tulu: nothing was found.\n", 1)
    assert not (tmp_path / "none").exists()


def test_a_session_is_shown(store: SqliteStore, run: Run) -> None:
    session = answered(chat("Why?", "So.", system="Be brief.", name="mine"), "It is", "interrupted")
    store.write(session)
    out, err, _ = run("show", session.id[:5] if len(store.summaries()) > 1 else "mine")
    assert [line for line in out.splitlines() if line and "1970" not in line] == [
        "system", "Be brief.", "Why?", "It is"]  # fmt: skip
    assert "  demo  [interrupted]\n" in out
    assert err == "tulu: 1 more turns are on other branches: --tree shows them.\n"
    assert run("show", "mine", "--tree")[0].count("\n") == 3
    (value,) = json.loads(run("show", "mine", "--json")[0])
    assert [node["finish_reason"] for node in value["nodes"]] == [None, "stop", "interrupted"]
    assert value["nodes"][1]["record"]["sampling"]["seed"] == 7
    with pytest.raises(UsageError, match="leave --tree out"):
        run("show", "mine", "--tree", "--json")


@pytest.mark.parametrize("form", ["text", "tree", "json"])
def test_nothing_that_was_said_commands_a_terminal(store: SqliteStore, form: str) -> None:
    hostile = "\x1b]52;c;aGk=\x07 \x1b[6n \x9b31m \u202e\r"
    session = chat(hostile, hostile, system=hostile, name=hostile)
    store.write(session)
    for color in (False, True):
        streams = terminal(color=color)
        show.run(session.id, form, streams)
        search.run(streams, "52", limit=9, json_output=form == "json")
        list_.run(streams, NOW, limit=None, json_output=form == "json")
        left = shown(streams).replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert left.replace("\n", "").isprintable()


def test_what_is_found_is_shown_and_is_in_the_line(store: SqliteStore, run: Run) -> None:
    session = chat("天" * 100 + " needle " + "空" * 100, "another NEEDLE")
    store.write(session)
    out, _, code = run("search", "needle")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [session.id] * 2
    hits = [json.loads(line) for line in run("search", "needle", "--json")[0].splitlines()]
    assert [(hit["role"], hit["match"]) for hit in hits] == [("assistant", "NEEDLE"),
                                                            ("user", "needle")]  # fmt: skip
    streams = terminal(color=True)
    search.run(streams, "NEEDLE", limit=1, json_output=False)
    search.run(streams, "needle 天", limit=1, json_output=False)
    first, second = shown(streams).splitlines()
    assert "another \x1b[1mNEEDLE\x1b[0m" in first
    assert second.endswith("…")
    with pytest.raises(UsageError, match="nothing to look for"):
        run("search", " ")


@pytest.mark.parametrize("width", [100, 60, 45, 40, 20])
def test_a_hit_fits_a_terminal(store: SqliteStore, width: int) -> None:
    from rich.cells import cell_len

    store.write(chat("天" * 100 + " needle " + "空" * 100))
    streams = terminal(width=width)
    search.run(streams, "needle", limit=9, json_output=False)
    (line,) = shown(streams).splitlines()
    assert cell_len(line) <= width
    assert "needle" in line


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
    with pytest.raises(UsageError, match="exclude one another"):
        run("export", "--all", "x")
    file = tmp_path / "there.md"
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists: --force writes over it"):
        run("export", "-o", str(file))
    assert file.read_text() == "mine"
    run("export", "-o", str(file), "--force")
    assert file.read_text() == "## user\n\nthree\n"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


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


def test_rename(store: SqliteStore, run: Run) -> None:
    one, two = chat("one"), chat("two", name="two")
    store.write(one)
    store.write(two)
    run("rename", one.id, "mine")
    assert store.load(one.id).name == "mine"
    for name in ("two", "", "-x", "a\x1b", " a"):
        with pytest.raises(UsageError, match=r"named 'two'|cannot be the name"):
            run("rename", "--", "mine", name)


@pytest.mark.parametrize(("typed", "gone"), [(b"y\n", True), (b"YES\n", True), (b"\n", False),
                                             (b"", False), (b"no\n", False)])  # fmt: skip
def test_delete_asks_on_a_terminal(store: SqliteStore, typed: bytes, gone: bool) -> None:
    session = chat("one", "1", name="mine")
    store.write(session)
    streams = terminal(typed)
    delete.run(streams, ["mine", session.id], yes=False)
    assert f"mine ({session.id}), 2 turns\nDelete it? [y/N]" in talk(streams)
    assert (store.summaries() == []) == gone


def test_delete_in_a_pipe_takes_yes(store: SqliteStore, run: Run) -> None:
    one, two = chat("one"), chat("two")
    store.write(one)
    store.write(two)
    with pytest.raises(UsageError, match="--yes does it without"):
        run("delete", one.id)
    with pytest.raises(UsageError, match="no session 'nope'"):
        run("delete", one.id, "nope", "--yes")
    assert len(store.summaries()) == 2
    run("delete", one.id, two.id, "--yes")
    assert store.summaries() == []


def test_prune(store: SqliteStore, run: Run) -> None:
    sessions = [chat(f"number {days}", name="named" if days == 9 else None) for days in range(10)]
    for days, session in reversed(list(enumerate(sessions))):
        kept(store, session, days=days)

    def gone(
        *, age: float | None = None, keep: int | None = None, named: bool = False
    ) -> list[int]:
        chosen = prune.choose(store.summaries(), NOW, age, keep, named=named)
        return [int(one.title.split()[1]) for one in chosen]

    assert gone(age=6.5 * DAY) == [7, 8]
    assert gone(age=6.5 * DAY, named=True) == [7, 8, 9]
    assert gone(keep=7) == [7, 8]
    assert gone(keep=8, age=2.5 * DAY) == [8]
    assert gone(keep=2, age=7.5 * DAY) == [8]
    assert gone(keep=0, named=True) == list(range(10))
    out, err, _ = run("prune", "--keep", "7", "--dry-run")
    assert [line.split("\t")[::2] for line in out.splitlines()] == [
        [sessions[7].id, "number 7"],
        [sessions[8].id, "number 8"],
    ]
    assert err == "tulu: 2 would be deleted.\n"
    assert len(store.summaries()) == 10
    with pytest.raises(UsageError, match="--yes"):
        run("prune", "--keep", "7")
    assert run("prune", "--keep", "7", "--yes")[1] == "tulu: 2 deleted.\n"
    assert len(store.summaries()) == 8
    assert run("prune", "--keep", "7", "--yes")[1] == "tulu: nothing is that old.\n"


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43200), ("30d", 30 * DAY),
                                               ("8w", 56 * DAY), ("1y", 365 * DAY)])  # fmt: skip
def test_ages(text: str, seconds: float) -> None:
    assert prune.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "30 d", "١d"])
def test_what_is_no_age(text: str, run: Run) -> None:
    with pytest.raises(UsageError, match="An age is a number and a unit"):
        prune.seconds_of(text)
    with pytest.raises(UsageError, match="Say what is old"):
        run("prune")


def test_a_damaged_history_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "two" / "chats" / "history.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all" * 100)
    done = tulu("history", "list", env={"TULU_DATA_DIR": str(tmp_path / "two")})
    assert done.returncode == 0
    assert done.stderr.decode().startswith("tulu: the history was damaged (file is not a database)")
    assert done.stderr.count(b"\n") == 2


def test_it_is_light(store: SqliteStore, tmp_path: Path) -> None:
    store.write(chat("hello", name="it"))
    for arguments in (["--help"], ["list", "-h"], ["list"], ["search", "hello"], ["show", "it"]):
        code, modules, sockets = watched("history", *arguments, TULU_DATA_DIR=str(tmp_path))
        assert code == 0
        assert modules & (HEAVY - {"pydantic"}) == set()  # which is Typer's own
        assert sockets == []
