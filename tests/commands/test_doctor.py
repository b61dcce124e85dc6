"""`tulu doctor`: the whole of it as a process, and what it prints of any findings."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.commands.history.run import shown, talk, terminal
from tests.program import tulu
from tests.test_startup import watched
from tulu_cli.commands.doctor import run
from tulu_cli.doctor.finding import Finding
from tulu_cli.doctor.looks import engine, examine
from tulu_cli.machine import Machine
from tulu_cli.streams import Streams

PROBLEM = Finding("problem", "gpu 0", "bad\x1b[2J\nname", "nvidia-smi")


def test_this_machine_has_no_torch_in_our_process() -> None:
    code, modules, sockets = watched("doctor", "--json")
    assert code in (0, 1)  # whatever this machine lacks
    assert modules & {"torch", "transformers", "vllm", "numpy"} == set()
    assert sockets == []


def test_a_broken_machine_exits_1_and_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    (tmp_path / "config.toml").write_text("\nmodle = 1\n")
    faults = {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"), ""),
        "HF_HOME": str(tmp_path / "hub"),
        "TULU_CONFIG": str(tmp_path / "config.toml"),
        "TULU_CACHE_DIR": str(tmp_path / "cache"),
        "HTTPS_PROXY": "ftp://me:s3cret@x",
        "HF_TOKEN": "s3cret",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = tulu("doctor", "--json", env=faults)
    assert (done.returncode, done.stderr) == (1, b"tulu: 3 problems.\n")
    assert b"s3cret" not in done.stdout
    found = [one for one in json.loads(done.stdout) if one["level"] == "problem"]
    assert [one["about"] for one in found] == ["disk", "proxy", "settings"]
    assert "line 2: unknown key modle. Is model meant?" in found[2]["said"]
    assert found[2]["mend"] == "tulu config edit"


def test_a_terminal_gets_colours_and_safe_text() -> None:
    streams = terminal(color=True)
    with pytest.raises(typer.Exit) as caught:
        run(streams, [PROBLEM, Finding("ok", "disk", "fine")], json_output=False)
    assert caught.value.exit_code == 1
    problem, mend, fine, _ = shown(streams).split("\n")
    assert problem == "\x1b[31;1mproblem \x1b[0m gpu 0        bad␛[2J name"
    assert mend.split() == [">", "nvidia-smi"]
    assert fine.startswith("\x1b[32mok ")
    assert talk(streams) == "tulu: 1 problem.\n"


def test_a_narrow_terminal_gets_lines_that_fit_and_whole_commands() -> None:
    streams = terminal(width=50)
    mend = "pip install 'tulu_cli[transformers]' and more"
    run(streams, [Finding("note", "torch", "word " * 20, mend)], json_output=False)
    *said, command, _ = shown(streams).split("\n")
    assert len(said) > 2
    assert all(len(line) <= 50 for line in said)
    assert command.strip() == f"> {mend}"


def test_a_pipe_gets_a_line_each() -> None:
    streams = Streams.test()
    run(streams, [Finding("note", "x", "y")], json_output=False)
    assert shown(streams) == "note     x            y\n"
    assert talk(streams) == "tulu: nothing is broken.\n"


def test_a_look_that_fails_stops_no_other() -> None:
    def broken(_streams: Streams) -> Iterator[Finding]:
        yield Finding("ok", "a", "first")
        raise OSError(5, "Input/output error")

    found = list(examine(Streams.test(), {"a": broken, "b": lambda _: [PROBLEM]}))
    assert [one.level for one in found] == ["ok", "problem", "problem"]
    assert found[1].said == "It cannot be looked at: OSError: [Errno 5] Input/output error"


@pytest.mark.parametrize(
    ("wanted", "levels", "said"),
    [
        ("auto", {"problem", "note"}, "No engine can run here"),
        ("vllm", {"problem", "note"}, "--engine vllm cannot run"),
        ("nonsense", {"problem", "note"}, "Unknown engine 'nonsense'"),
        ("fake", {"ok", "note"}, "fake would run"),
    ],
)
def test_a_machine_without_engines(
    monkeypatch: pytest.MonkeyPatch, wanted: str, levels: set[str], said: str
) -> None:
    monkeypatch.setenv("TULU_ENGINE", wanted)
    monkeypatch.setattr("tulu_cli.doctor.looks.read_machine", Machine)
    found = list(engine(Streams.test()))
    assert {one.level for one in found} == levels
    assert said in " ".join(one.said for one in found)
    assert "vllm would not run: vllm is not installed" in " ".join(one.said for one in found)
