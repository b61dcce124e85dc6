"""`tulu config show`, `get`, `path` and `check`."""

import json
import re
from pathlib import Path

import pytest

from tests.commands.config.conftest import Run
from tests.commands.history.run import shown, terminal
from tulu_cli.commands.config.show import ShownSetting
from tulu_cli.commands.config.show import run as print_rows
from tulu_cli.settings import KEYS, dotted


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def test_where_each_value_came_from(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, demo_directory: Path
) -> None:
    write(
        file,
        f"model = 'ours'\n[alias]\nours = {str(demo_directory)!r}\n[prompts]\nbrief = \"a\\tb\"\n"
        "[profile.work.sampling]\nmin_p = 0.5\n",
    )
    Path(".tulu.toml").write_text("[sampling]\ntop_k = 3\n[prompts]\nown = 'x'\n")
    monkeypatch.setenv("TULU_SEED", "7")
    out, err, code = run("show", "--origin", "--profile", "work")
    assert (err, code) == ("", 0)
    found = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
    assert set(found) == {
        *(dotted(key.keys) for key in KEYS), "alias.ours", "prompts.brief", "prompts.own"
    }  # fmt: skip
    assert found["model"] == ['"ours"', str(file)]
    assert found["sampling.seed"] == ["7", "TULU_SEED"]
    assert found["sampling.top_k"] == ["3", ".tulu.toml"]
    assert found["sampling.min_p"] == ["0.5", f"{file} [profile.work]"]
    assert found["sampling.temperature"][1] == "model"
    assert found["sampling.repetition_penalty"] == ["1.0", "default"]
    assert found["sampling.max_tokens"] == ["null", "default"]
    assert found["engine.engine"] == ['"auto"', "default"]
    assert found["prompts.brief"] == [r'"a\tb"', str(file)]
    assert found["prompts.own"] == ['"x"', ".tulu.toml"]
    rows = json.loads(run("show", "--json", "--profile", "work")[0])
    assert {row["key"]: [json.dumps(row["value"]), row["origin"]] for row in rows} == found


def test_a_terminal_gets_columns_made_safe() -> None:
    streams = terminal()
    print_rows(
        streams,
        [ShownSetting("a", "\x9b", "x"), ShownSetting("long", 1, "y")],
        origin=True,
        json_output=False,
    )
    assert shown(streams) == 'a     "<9B>"  x\nlong  1       y\n'


@pytest.mark.parametrize("model", ["nobody/nothing", "./nowhere", "x.gguf", "demo"])
def test_a_model_that_is_not_here_gives_no_advice(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str
) -> None:
    write(file, f"model = '{model}'\n")
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("TULU_DEMO_WHEEL", "/nowhere.whl")
    out, _, code = run("show", "--origin")
    assert code == 0
    assert "\tmodel\n" not in out


def test_get(run: Run, file: Path) -> None:
    write(file, "[alias]\nours = '/x'\n[profile.w]\nsystem = 'two'\n")
    assert run("get", "alias.ours") == ("/x\n", "", 0)
    assert run("get", "system", "--profile", "w") == ("two\n", "", 0)
    out, err, code = run("get", "alias.theirs")
    assert (out, code, "alias.theirs is not set" in err) == ("", 1, True)
    assert run("get", "alais.ours")[2] == 2


def test_path(run: Run, file: Path) -> None:
    assert run("path") == (f"{file}\n", "", 0)


def test_check_names_every_mistake(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, "[sampling]\ntop_p = 3\n[alias]\na = 1\n[profile.w]\nmodle = 'x'\n")
    Path(".tulu.toml").write_text("model = '/x'\n[engine]\ndevice = 'cpu'\n")
    monkeypatch.setenv("TULU_SEED", "x")
    out, _, code = run("check")
    assert code == 65
    assert [re.sub(r"^.*/own/", "", line)[:43] for line in out.splitlines()] == [
        "config.toml, line 2: sampling.top_p takes o",
        "config.toml, line 4: [alias] takes names wi",
        "config.toml, line 6: unknown key modle. Is ",
        ".tulu.toml, line 1: a project may only name",
        ".tulu.toml, line 3: a project may not set e",
        "TULU_SEED takes a whole number, not 'x'.",
    ]


@pytest.mark.parametrize(
    ("text", "profile", "said"),
    [("alias = 3", "", "line 1"), ("x = ", "", "line 1, column 5"), ("", "w", "no profile 'w'")],
)
def test_check_of_what_cannot_be_read(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, text: str, profile: str, said: str
) -> None:
    write(file, text)
    monkeypatch.setenv("TULU_PROFILE", profile)
    out, _, code = run("check")
    assert (code, out.count("\n"), said in out) == (65, 1, True)


def test_nothing_wrong_is_said(run: Run, file: Path) -> None:
    write(file, "model = '8b'\n")
    assert run("check") == ("", "tulu: nothing is wrong with the settings.\n", 0)


def test_a_project_may_use_the_alias_of_a_profile(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(file, "[profile.w.alias]\nours = '/x'\n")
    Path(".tulu.toml").write_text("model = 'ours'\n")
    assert run("check")[2] == run("get", "model")[2] == 65
    monkeypatch.setenv("TULU_PROFILE", "w")
    assert run("check")[2] == 0
    assert run("get", "model") == ("ours\n", "", 0)
