"""`tulu serve`, `ps`, `stop` and `logs` as processes, and `tulu complete` that finds the engine."""

import io
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.commands.serving import env_of, said, wait_for
from tests.program import DEADLINE_SECONDS, eventually, pipe, running, shell
from tests.test_startup import HEAVY, watched
from tulu_cli.warm.finder import warm_engines

pytestmark = pytest.mark.usefixtures("root")

LONG = ("--raw", "--ignore-eos", "-n", "1024", "word " * 8)


def test_a_day_in_the_life(
    serve: tuple[str, ...], model: tuple[str, ...], demo_directory: Path, root: Path
) -> None:
    out, err = said(*serve)
    assert out == ""
    assert "Starting" in err
    assert "is ready after" in err
    out, err = said("complete", *model, "--raw", "-v", "--json", "say it")
    assert json.loads(out)["choices"][0]["text"] == "say it"
    assert json.loads(out)["engine"]["name"] == "fake"
    assert "tulu: engine fake: warm, and chosen" in err
    (row,) = map(json.loads, said("ps", "--json")[0].splitlines())
    assert (row["model"], row["state"], row["requests"]) == (str(demo_directory), "ready", 0)
    assert row["unloads_in_seconds"] is None
    assert row["memory_bytes"] > 10e6
    head, line = said("ps")[0].splitlines()
    assert head.split()[:4] == ["MODEL", "ENGINE", "PID", "DEVICE"]
    assert f"{root}/" in line
    assert "tulu: stage loading weights" in said("logs")[0]
    assert said("stop")[1].startswith("tulu: stopped ")
    assert said("ps") == ("", "tulu: no engine is warm; tulu serve MODEL starts one.\n")
    assert said("ps", "--json")[0] == ""
    assert "No engine is warm" in said("stop", code=2)[1]
    assert said("stop", "--all") == ("", "")


def test_the_answer_is_that_of_an_engine_in_process(
    serve: tuple[str, ...], model: tuple[str, ...]
) -> None:
    ask = ("complete", *model, "--json", "--seed", "3", "-n", "2", "--stop", "x", "one two x three")
    alone = json.loads(said(*ask)[0])
    said(*serve)
    warm = json.loads(said(*ask)[0])
    again = json.loads(said(*ask, "--no-server")[0])
    for answer in (alone, warm, again):
        del answer["timings"]
    assert alone == again
    assert warm == alone


@pytest.mark.parametrize("form", [(), ("--raw",), ("--json",), ("--stop", "x", "-n", "2")])
def test_one_that_asks_a_warm_engine_loads_no_tokenizer_and_no_template(
    serve: tuple[str, ...], model: tuple[str, ...], root: Path, form: tuple[str, ...]
) -> None:
    said(*serve)
    ask = ("complete", *model, *form, "one two")
    code, modules, _ = watched(*ask, TULU_RUNTIME_DIR=str(root))
    assert code == 0
    assert modules & HEAVY == set()
    code, modules, _ = watched(*ask, "--no-server", TULU_RUNTIME_DIR=str(root))
    assert code == 0
    assert {"tokenizers"} <= modules & HEAVY


def test_keep_alive_starts_an_engine_for_the_next_command(model: tuple[str, ...]) -> None:
    ask = ("complete", *model, "--raw", "-v", "--keep-alive", "10m", "say it")
    out, first = said(*ask)
    assert out == "say it\n"
    assert "Starting" in first
    out, second = said(*ask)
    assert out == "say it\n"
    assert "Starting" not in second
    (row,) = map(json.loads, said("ps", "--json")[0].splitlines())
    assert 0 < row["unloads_in_seconds"] <= 600
    said("stop", "--all")


def test_keep_alive_can_be_a_setting_and_is_over_at_some_time(
    model: tuple[str, ...], root: Path
) -> None:
    said("complete", *model, "say it", env={"TULU_KEEP_ALIVE": "2s"})
    assert eventually(lambda: [path.name for path in root.iterdir()] == ["locks"])
    err = said("complete", *model, "say it", env={"TULU_KEEP_ALIVE": "soon"}, code=2)[1]
    assert err == "tulu: --keep-alive takes a time such as 30s, 10m or 2h, not 'soon'.\n"


def test_a_mismatch_is_reported_and_answered_here(
    serve: tuple[str, ...], model: tuple[str, ...], demo_directory: Path
) -> None:
    said(*serve, "--max-model-len", "99")
    out, err = said("complete", *model, "--raw", "--json", "--max-model-len", "98", "say it")
    assert json.loads(out)["engine"]["max_model_len"] == 98
    assert "is not used: its max_model_len is 99, not 98; tulu stop" in err
    out, err = said("complete", *model, "--raw", "--json", "say it")
    assert json.loads(out)["engine"]["max_model_len"] == 99, "what is left open is as it is there"
    assert err == ""
    long = "word " * 120
    assert "99" in said("complete", *model, "--raw", long, code=6)[1]


def test_the_fake_engine_answers_nobody_who_did_not_ask_for_it(
    serve: tuple[str, ...], demo_directory: Path
) -> None:
    said(*serve)
    from tulu_cli.loading import LoadOptions, prepare
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Setting, Settings
    from tulu_cli.streams import Streams

    settings = Settings({"model": Setting(str(demo_directory), "flag")})
    machine = Machine(packages={"torch": "2", "transformers": "5"})
    streams = Streams.test()
    found = prepare(LoadOptions(settings), machine, streams)
    assert found.choice.engine == "transformers"
    assert isinstance(streams.stderr, io.BytesIO)
    assert streams.stderr.getvalue() == b""


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_no_proxy_is_asked(serve: tuple[str, ...], model: tuple[str, ...], name: str) -> None:
    env = {name: "http://127.0.0.1:9"}
    said(*serve, env=env)
    out, err = said("complete", *model, "--raw", "-v", "say it", env=env)
    assert out == "say it\n"
    assert "warm, and chosen" in err
    assert json.loads(said("ps", "--json", env=env)[0])["state"] == "ready"


def test_a_ctrl_c_ends_one_in_the_foreground(demo_directory: Path, root: Path) -> None:
    with running("serve", str(demo_directory), "--engine", "fake", env=env_of(root)) as process:
        wait_for(process, b"is ready after")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert [path.name for path in root.iterdir()] == ["locks"]


def test_on_a_port_it_answers_until_ctrl_c(demo_directory: Path, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serve = ("serve", str(demo_directory), "--engine", "fake", "--host", "127.0.0.1")
        err = said(*serve, "--port", port, code=1)[1]
    assert err == f"tulu: Port {port} of 127.0.0.1 is in use: --port names another one.\n"
    with running(*serve, "--port", port, env=env_of(root)) as process:
        wait_for(process, f"fake, http://127.0.0.1:{port}/v1".encode())
        ask = ("complete", "--server", f"http://127.0.0.1:{port}", "-m", str(demo_directory))
        assert said(*ask, "--raw", "say it") == ("say it\n", "")
        with running(*ask, "--raw", "fake: wait 60", env=env_of(root)):
            loaded = f"http://127.0.0.1:{port}/load"
            assert eventually(lambda: json.load(urlopen(loaded))["server_load"] == 1)
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE_SECONDS)
        assert pipe(process.stderr).read() == f"tulu: stopped {demo_directory}.\n".encode()
        assert process.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_one_in_the_foreground_does_not_outlive_its_command(
    demo_directory: Path, root: Path, number: int
) -> None:
    with running("serve", str(demo_directory), "--engine", "fake", env=env_of(root)) as process:
        wait_for(process, b"is ready after")
        process.send_signal(number)
        process.wait(DEADLINE_SECONDS)
    assert eventually(lambda: [path.name for path in root.iterdir()] == ["locks"])


def test_a_server_that_dies_in_mid_answer_is_exit_7_with_the_partial_kept(
    serve: tuple[str, ...], model: tuple[str, ...], root: Path
) -> None:
    said(*serve)
    (warm,) = warm_engines()
    with running("complete", *model, *LONG, stdin=subprocess.DEVNULL, env=env_of(root)) as process:
        first = pipe(process.stdout).read(64)
        os.kill(warm.state.server, signal.SIGKILL)
        rest, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 7
    assert (first + rest).startswith(b"word")
    assert (first + rest).endswith(b"\n")
    assert err.decode().startswith("tulu: The warm engine of ")
    assert err.count(b"\n") == 1


def test_logs_can_be_followed_to_the_end(serve: tuple[str, ...], root: Path) -> None:
    said(*serve)
    (warm,) = warm_engines()
    with running("logs", "-f", env=env_of(root)) as process:
        assert pipe(process.stdout).readline() == b"tulu: stage loading weights\n"
        with (warm.folder / "log").open("a") as log:
            log.write("a line\n")
        assert pipe(process.stdout).readline() == b"a line\n"
        os.kill(warm.state.server, signal.SIGKILL)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert "a line" in said("logs")[0], "a dead engine's log is still there"


def test_two_commands_at_once_start_one_engine(model: tuple[str, ...], root: Path) -> None:
    ask = ("complete", *model, "--raw", "--keep-alive", "10m", "say it")
    command = '"$@" & "$@" & "$@" & wait'
    assert sorted(shell(command, *ask).stdout) == sorted(b"say it\n" * 3)
    assert len(warm_engines()) == 1
