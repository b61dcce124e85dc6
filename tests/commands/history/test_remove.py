"""`tulu history rename`, `delete` and `prune`."""

import pytest

from tests.chat.sessions import chat
from tests.commands.history.run import DAY, NOW, Run, kept, talk, terminal
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.commands.history import delete, prune
from tulu_cli.errors import UsageError


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
