"""The environment: switches, proxies, the terminal and the settings, each with its faults."""

import shlex
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tulu_cli.doctor.surroundings import (
    Terminal,
    judge_hub,
    judge_proxies,
    judge_servers,
    judge_settings,
    judge_terminal,
    read_terminal,
    read_token_mode,
    why_no_color,
)

SECRET = "hf_secret"
GOOD = Terminal(True, "UTF-8", 100, True, "xterm", "xclip")


@pytest.mark.parametrize(
    ("environ", "mode", "expected"),
    [
        ({}, None, ["ok No token"]),
        ({"HF_TOKEN": SECRET}, None, ["ok HF_TOKEN holds a token"]),
        ({"HUGGING_FACE_HUB_TOKEN": SECRET}, 0o600, ["ok HUGGING_FACE_HUB_TOKEN holds"]),
        ({}, 0o600, ["ok A token for the Hub is kept"]),
        ({"HF_HOME": "/h"}, 0o644, ["ok A token", "note The file > chmod 600 /h/token"]),
        ({"HF_HUB_OFFLINE": "1"}, None, ["ok No token", "note The environment says offline"]),
        (
            {"TRANSFORMERS_OFFLINE": "yes"},
            None,
            ["ok No token", "note The environment says offline"],
        ),
        ({"HF_HUB_OFFLINE": "0"}, None, ["ok No token"]),
    ],
)
def test_the_hub(environ: dict[str, str], mode: int | None, expected: list[str]) -> None:
    found = list(judge_hub(environ, mode))
    assert SECRET not in repr(found)
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        start, _, mend = wanted.partition(" > ")
        assert f"{one.level} {one.said}".startswith(start)
        assert mend in str(one.mend)


@pytest.mark.parametrize(
    ("variable", "url", "socks", "level", "said"),
    [
        ("HTTPS_PROXY", f"http://me:{SECRET}@proxy:3128", False, "note", "to proxy:3128"),
        ("http_proxy", "http://proxy", False, "note", "to proxy:its usual port"),
        ("ALL_PROXY", "socks5://proxy:1", False, "problem", "SOCKS"),
        ("ALL_PROXY", "socks5h://proxy:1", True, "note", "to proxy:1"),
        ("HTTP_PROXY", f"me:{SECRET}@proxy:3128", False, "problem", "is not the address"),
        ("HTTP_PROXY", "http://proxy:port", False, "problem", "is not the address"),
        ("HTTP_PROXY", "http://[::1", False, "problem", "is not the address"),
    ],
)
def test_a_proxy(variable: str, url: str, socks: bool, level: str, said: str) -> None:
    (found,) = judge_proxies({variable: url}, socks=socks)
    assert SECRET not in repr(found)
    assert (found.level, variable in found.said, said in found.said) == (level, True, True)


def test_what_is_advised_for_a_socks_proxy_is_what_the_hubs_library_wants() -> None:
    (found,) = judge_proxies({"ALL_PROXY": "socks5://proxy:1"}, socks=False)
    (advised,) = shlex.split(str(found.mend))[2:]
    library = [Requirement(line) for line in metadata.requires("huggingface_hub") or ()]
    (client,) = [one.name for one in library if one.name.startswith("httpx") and not one.marker]
    asked = [Requirement(line) for line in metadata.requires(client) or ()]
    markers = [(one, one.marker) for one in asked if one.marker]
    (extra,) = [
        one
        for one, marker in markers
        if marker.evaluate({"extra": "socks"}) and not marker.evaluate({"extra": ""})
    ]
    assert Requirement(advised).name == extra.name == "socksio"
    releases = ("0.9", "1.0", "1.9", "2.0")
    assert [release in Requirement(advised).specifier for release in releases] == [
        release in extra.specifier for release in releases
    ]


def test_no_proxy() -> None:
    assert list(judge_proxies({"HTTP_PROXY": "", "NO_PROXY": "x"}, socks=False)) == []


@pytest.mark.parametrize(
    ("terminal", "level", "said"),
    [
        (replace(GOOD, encoding="ISO-8859-1"), "problem", "encoding is ISO-8859-1"),
        (replace(GOOD, width=20), "note", "narrow"),
        (replace(GOOD, color=False), "note", "Colours are off: NO_COLOR is set"),
        (replace(GOOD, clipboard=None), "note", "No program that copies"),
    ],
)
def test_a_fault_of_the_terminal(terminal: Terminal, level: str, said: str) -> None:
    (found,) = [one for one in judge_terminal(terminal, "NO_COLOR is set") if one.level != "ok"]
    assert (found.level, said in found.said) == (level, True)


def test_a_sound_terminal_and_none() -> None:
    assert [one.said for one in judge_terminal(GOOD, "")] == ["xterm, 100 columns."]
    pipe = replace(GOOD, tty=False, encoding="ASCII", width=1, color=False)
    assert [one.level for one in judge_terminal(pipe, "")] == ["ok"]


def test_why_there_is_no_colour() -> None:
    assert why_no_color({"NO_COLOR": "1"}) == "NO_COLOR is set"
    assert why_no_color({"TERM": "dumb"}) == "TERM is dumb"
    assert why_no_color({}) == ""


def test_the_settings() -> None:
    path = Path("/c.toml")
    found = list(judge_settings(["/c.toml, line 1: x.", ".tulu.toml, line 1: y."], path))
    assert [(one.level, one.mend) for one in found] == [
        ("problem", "tulu config edit"),
        ("problem", None),
    ]
    assert [one.level for one in judge_settings([], path)] == ["ok"]


def test_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    assert read_token_mode({"HF_HOME": str(tmp_path)}) is None
    token.write_text(SECRET)
    token.chmod(0o640)
    assert read_token_mode({"HF_HOME": str(tmp_path)}) == 0o640
    assert read_token_mode({"HF_TOKEN_PATH": str(token), "HF_HOME": "/nowhere"}) == 0o640
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_terminal(tty=True, width=9, color=True).clipboard is None
    (tmp_path / "xsel").touch(mode=0o755)
    assert read_terminal(tty=True, width=9, color=True).clipboard == "xsel"


@pytest.mark.parametrize(
    ("running", "dead", "expected"),
    [
        ([], 0, [("ok", "No engine is warm.", None)]),
        (["8b", "demo"], 0, [("ok", "Warm: 8b, demo.", None)]),
        ([], 1, [("note", "1 warm engine died and left something behind.", "tulu ps")]),
    ],
)
def test_warm_engines(running: list[str], dead: int, expected: list[object]) -> None:
    found = judge_servers(running, dead)
    assert [(one.level, one.said, one.mend) for one in found] == expected


def test_a_dead_engine_is_told_beside_a_living_one() -> None:
    assert [one.level for one in judge_servers(["8b"], 2)] == ["note", "ok"]
