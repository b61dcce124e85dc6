"""What a shell is told when it asks, and that it does not wait long for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chat.sessions import empty
from tests.program import environment, tulu
from tulu_cli.chat.store.open import open_history
from tulu_cli.cli import completion
from tulu_cli.cli.completion import KINDS, Candidate, lines
from tulu_cli.errors import TuluError
from tulu_cli.models import FAMILY
from tulu_cli.plan.gpus import parse_gpu


def asked(kind: str, **env: str) -> list[str]:
    """The words of the answer to a shell."""
    done = tulu(env={"_TULU_CANDIDATES": kind, **env})
    assert (done.returncode, done.stderr) == (0, b"")
    return [line.partition("\t")[0] for line in done.stdout.decode().splitlines()]


def test_models_are_the_users_then_the_familys_then_the_cached(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[alias]\nours = "org/name"\n8b = "./mine"\n')
    for name in ("models--org--one", "models--a--b", "datasets--org--two", "version.txt"):
        (tmp_path / name).mkdir()
    found = asked("MODEL", TULU_CONFIG=str(config), HF_HUB_CACHE=str(tmp_path))
    family = [row.alias for row in FAMILY if row.alias != "8b"]
    assert found == ["ours", "8b", *family, "a/b", "org/one"]


def test_system_prompts_are_those_that_have_names(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[prompts]\npirate = "You are a\\npirate."\n')
    assert asked("SYSTEM", TULU_CONFIG=str(config)) == ["tulu", "none", "pirate"]


def test_sessions_are_the_last_first_by_name_or_by_id(tmp_path: Path) -> None:
    assert asked("ID", TULU_DATA_DIR=str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "chats" / "history.db"
    store = open_history(path, pytest.fail)
    older, newer = empty(), empty(name="holidays")
    for session in (older, newer):
        store.write(session)
    assert asked("ID", TULU_DATA_DIR=str(tmp_path)) == ["holidays", older.id]  # while it is open
    store.close()
    assert asked("ID", TULU_DATA_DIR=str(tmp_path)) == ["holidays", older.id]
    assert asked("SESSION", TULU_DATA_DIR=str(tmp_path)) == ["holidays"]


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 4096])
def test_tab_leaves_a_damaged_history_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chats" / "history.db"
    path.parent.mkdir()
    path.write_bytes(content)
    assert asked("ID", TULU_DATA_DIR=str(tmp_path)) == []
    assert (os.listdir(path.parent), path.read_bytes()) == ([path.name], content)


@pytest.mark.parametrize("broken", ["[alias", "nonsense = 1", "\xff"])
def test_a_broken_config_file_is_not_for_a_shell_to_hear_of(tmp_path: Path, broken: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(broken, encoding="latin-1")
    assert "demo" in asked("MODEL", TULU_CONFIG=str(config), HF_HUB_CACHE=str(tmp_path / "none"))


@pytest.mark.parametrize("kind", ["ENGINE", "NOTHING", "$(id)"])
def test_what_a_script_knows_by_itself_is_not_answered(kind: str) -> None:
    done = tulu(env={"_TULU_CANDIDATES": kind})
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_shell_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = tulu(env={"_TULU_CANDIDATES": "MODEL"}, stdout=writing)
    os.close(writing)
    assert done.returncode == 1


def test_a_word_is_one_line_and_commands_no_terminal() -> None:
    given = [
        Candidate("good", "two\nlines\tand \x1b[2J"),
        Candidate("good", "again"),
        Candidate("bad\nword"),
        Candidate("bad\tword"),
        Candidate("\x1b[2J"),
        Candidate("\u202eword"),
        Candidate(""),
        Candidate("über"),
    ]
    assert list(lines(given)) == ["good\ttwo lines and  [2J\n", "über\t\n"]


def test_each_kind_has_something_to_offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path))
    store = open_history(tmp_path / "chats" / "history.db", pytest.fail)
    store.write(empty(name="holidays"))
    store.close()

    def broken(*_: object) -> None:
        raise TuluError("The settings are broken.")

    monkeypatch.setattr(completion, "read_settings", broken)
    for kind in KINDS.values():
        assert [*kind.fixed(), *(kind.source() if kind.source else ())] or kind.paths


def test_nothing_slow_is_loaded() -> None:
    script = (
        "import json, os, sys; from tulu_cli.__main__ import main;"
        "os._exit = lambda code: (json.dump(sorted(sys.modules), sys.stderr), sys.exit(code));"
        "main()"
    )
    env = environment({"_TULU_CANDIDATES": "MODEL"})
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True)
    slow = {"typer", "rich", "pydantic", "huggingface_hub.file_download", "httpx", "torch"}
    assert slow & set(json.loads(done.stderr)) == set()


def test_every_gpu_is_one_word_that_the_planner_takes() -> None:
    for candidate in KINDS["GPU"].fixed():
        assert parse_gpu(f"{candidate.word}:2")[1] == 2
        assert not set(candidate.word) & set(" \t'\"$")
