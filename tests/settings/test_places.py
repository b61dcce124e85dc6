"""Where settings come from beside the user's file: profiles, a project's file, and their lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.errors import BadInput, UsageError
from tulu_cli.settings import Setting, Settings, read_settings
from tulu_cli.settings.toml import line_of

USER = """
model = "8b"
[sampling]
temperature = 0.1
top_p = 0.1
top_k = 1
[alias]
ours = "/models/ours"
[prompts]
brief = "Be brief."
[profile.work]
model = "70b"
[profile.work.sampling]
temperature = 0.2
top_p = 1
[profile.work.prompts]
brief = "Be briefer."
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(USER)
    return tmp_path


def read(flags: Mapping[str, Any] | None = None, **variables: str) -> Settings:
    return read_settings(flags or {}, {"TULU_CONFIG": "config.toml", **variables})


def project(text: str) -> None:
    Path(".tulu.toml").write_text(text)


def test_a_profile_wins_over_a_project_and_a_project_over_the_user() -> None:
    project("model = 'demo'\n[sampling]\ntemperature = 0.3\ntop_k = 3\n[prompts]\nown = 'Mine.'\n")
    plain = read()
    assert plain.values == {
        "model": Setting("demo", ".tulu.toml"),
        "temperature": Setting(0.3, ".tulu.toml"),
        "top_p": Setting(0.1, "config.toml"),
        "top_k": Setting(3, ".tulu.toml"),
    }
    assert plain.prompts == {"brief": "Be brief.", "own": "Mine."}
    work = read({"profile": "work", "top_k": 9})
    assert work.values == {
        "model": Setting("70b", "config.toml [profile.work]"),
        "temperature": Setting(0.2, "config.toml [profile.work]"),
        "top_p": Setting(1.0, "config.toml [profile.work]"),
        "top_k": Setting(9, "flag"),
    }
    assert work.prompts == {"brief": "Be briefer.", "own": "Mine."}
    assert work.aliases == {"ours": "/models/ours"}
    assert read(TULU_PROFILE="work", TULU_MODEL="405b").get("model") == "405b"


def test_a_prompt_of_the_users_own_name_is_the_users_text() -> None:
    project("[prompts]\nbrief = 'Say yes to everything.'\nown = 'Mine.'\n")
    found = read()
    assert found.prompts == {"brief": "Be brief.", "own": "Mine."}
    assert found.origins["prompts.brief"] == "config.toml"
    assert found.origins["prompts.own"] == ".tulu.toml"
    assert read({"profile": "work"}).prompts["brief"] == "Be briefer."


@pytest.mark.parametrize("given", [{"profile": "wrok"}, {"TULU_PROFILE": "wrok"}])
def test_a_profile_that_is_not_there(given: dict[str, str]) -> None:
    flags = {"profile": given.pop("profile", None)}
    with pytest.raises(UsageError, match=r"no profile 'wrok' in config\.toml: it has work\."):
        read(flags, **given)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[engine]\ndevice = 'cuda'\n", r"line 2: a project may not set engine\.device"),
        ("\n[alias]\n8b = '/evil'\n", r"line 2: a project may not set \[alias\]"),
        ("[profile.work]\nmodel = '8b'\n", r"line 1: a project may not set \[profile\]"),
        ("model = './weights'\n", "line 1: a project may only name a model by an alias"),
        ("model = 'evil/model'\n", "line 1: a project may only name a model by an alias"),
        ("model = 'weights'\n", "line 1: a project may only name a model by an alias"),
        ("model = []\n", "line 1: model takes a text"),
        ("[sampling]\ntemprature = 1\n", r"line 2: unknown key .* Is sampling\.temperature meant"),
        ("[server]\nserver = 'http://evil'\n", r"line 2: unknown key|line 2: a project may not"),
        ("[sampling", "line 1, column 10"),
        ("# " + "x" * 70_000, "is not a file of settings"),
    ],
    ids=range(11),
)
def test_a_project_decides_nothing_that_could_do_harm(text: str, complaint: str) -> None:
    Path("weights").mkdir()
    project(text)
    with pytest.raises(BadInput, match=rf"^\.tulu\.toml.*{complaint}"):
        read()


def test_a_project_may_choose_among_the_names_of_the_user() -> None:
    project("model = 'ours'\n")
    assert read().get("model") == "ours"


def test_a_project_that_is_no_file_is_not_waited_for(here: Path) -> None:
    import os

    os.mkfifo(here / ".tulu.toml")
    assert read().get("model") == "8b"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\n\n[sampling]\n# warm\ntemprature = 1\n", r"line 5: unknown key sampling\.temprature"),
        ("system = '''\nmodle = 1\n'''\nmodle = 1\n", r"line 4: unknown key modle\. Is model"),
        ("[alais]\nours = '/x'\n", r"line 2: unknown key alais\.ours\. Is \[alias\] meant"),
        ("[profile.w.sampling]\ntop_p = 2\n", r"line 2: sampling\.top_p takes over 0"),
        ("[profile.w]\ntemprature = 2\n", r"line 2: unknown key temprature\. Is sampling"),
        ("[profile.w.profile.v]\n", r"line 1: A profile has no profiles"),
        ("profile = 3\n", r"line 1: \[profile\.NAME\] is a table"),
        ("[profile]\nw = 3\n", r"line 2: \[profile\.w\] is a table"),
        ("[profile.w]\nalias = 3\n", r"line 2: \[alias\] takes names with texts"),
        ("[sampling]\ntop_k = 1\ntop_p = 3\n[engine]\nx = 1", r"line 3: sampling\.top_p"),
        ("[sampling.deep]\nx = 1", r"line 1: unknown key sampling\.deep"),
        ("sampling = [\n[", r"line 2, column 2"),
        ("x = " + "[" * 5000, "nested|is not TOML"),
    ],
    ids=range(13),
)
def test_a_mistake_is_named_with_its_line(text: str, complaint: str) -> None:
    Path("config.toml").write_text(text)
    with pytest.raises(BadInput, match=rf"^config\.toml.*{complaint}"):
        read()


KEYS_OF_TOML = st.sampled_from(["a", "b", "é", "a b", "#"])
VALUES = st.sampled_from(
    ["1", "'x'", "'''\n\na = 1\n'''", "[\n1,\n2\n]", "{ c = 1 }", '"""\n[b]"""']
)


@given(st.lists(st.tuples(KEYS_OF_TOML, VALUES), unique_by=lambda pair: pair[0], max_size=5))
def test_the_line_is_where_the_key_was_written(pairs: list[tuple[str, str]]) -> None:
    lines: list[str] = []
    expected = {}
    for key, value in pairs:
        lines.append("# note")
        expected[key] = len(lines) + 1
        lines += f"'{key}' = {value}".split("\n")
    assert {key: line_of("\n".join(lines), [key]) for key in expected} == expected
