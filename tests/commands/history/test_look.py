"""`tulu history list`, `show` and `search`: what a pipe gets, and what a terminal."""

import json
from pathlib import Path

import pytest

from tests.chat.sessions import answered, chat, stamp
from tests.commands.history.run import NOW, Run, kept, shown, terminal
from tests.program import tulu
from tests.test_startup import HEAVY, watched
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.commands.history import list_, search, show
from tulu_cli.core import Message
from tulu_cli.errors import UsageError
from tulu_cli.text import cells


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
    kept(store, chat("天空はなぜ青い \x1b[2J " * 9, name="sky"), days=3)
    streams = terminal(width=width)
    list_.run(streams, NOW, limit=None, json_output=False)
    (line,) = shown(streams).splitlines()
    assert cells(line) <= width
    assert "\x1b" not in line
    assert ("3 days ago" in line) == (width >= 50)
    assert ("2027-01-1" in line) == (width >= 80)
    assert "[sky] 天" in line


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
    session = session.add(Message(f"{hostile}\n", hostile), stamp())
    store.write(session)
    for color in (False, True):
        streams = terminal(color=color)
        show.run(session.id, form, streams)
        search.run(streams, "52", limit=9, json_output=form == "json")
        list_.run(streams, NOW, limit=None, json_output=form == "json")
        assert form != "tree" or shown(streams).count("\n") == 3 + 3 + 1
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
    store.write(chat("天" * 100 + " needle " + "空" * 100))
    streams = terminal(width=width)
    search.run(streams, "needle", limit=9, json_output=False)
    (line,) = shown(streams).splitlines()
    assert cells(line) <= width
    assert "needle" in line


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
