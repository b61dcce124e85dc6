"""`tulu serve`, `ps`, `stop` and `logs` as processes, and `tulu complete` that finds the engine."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.program import eventually, pipe, running, shell, tulu
from tests.warming import runtime
from tulu_cli.server.finder import warm_engines

LONG = ("--raw", "--ignore-eos", "-n", "1024", "word " * 8)


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory that the processes of the test share."""
    from tests import program

    with runtime() as directory:
        # `environment` passes no TULU_ variable of the user's on, and so not this one.
        clean = program.environment
        monkeypatch.setattr(
            program,
            "environment",
            lambda extra=program.NOTHING: clean({"TULU_RUNTIME_DIR": str(directory), **extra}),
        )
        monkeypatch.setenv("TULU_CACHE_DIR", os.environ.get("TULU_CACHE_DIR", ""))
        yield directory


@pytest.fixture
def model(demo_directory: Path) -> tuple[str, ...]:
    return ("--engine", "fake", "-m", str(demo_directory))


@pytest.fixture
def serve(demo_directory: Path) -> tuple[str, ...]:
    return ("serve", str(demo_directory), "--engine", "fake", "--detach")


def said(*arguments: str, code: int = 0, **options: Any) -> tuple[str, str]:
    """stdout and stderr of a run that has to end with this code."""
    done = tulu(*arguments, **options)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


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
    said("complete", *model, "say it", env={"TULU_KEEP_ALIVE": "0.2s"})
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
    from tulu_cli.launch import prepare
    from tulu_cli.machine import Machine
    from tulu_cli.models import no_progress
    from tulu_cli.settings import Setting, Settings

    settings = Settings({"model": Setting(str(demo_directory), "flag")})
    machine = Machine(packages={"torch": "2", "transformers": "5"})
    found = prepare(settings, machine, say=pytest.fail, progress=no_progress)
    assert found.choice.engine == "transformers"


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
        assert process.wait(60) == 0
    assert [path.name for path in root.iterdir()] == ["locks"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_one_in_the_foreground_does_not_outlive_its_command(
    demo_directory: Path, root: Path, number: int
) -> None:
    with running("serve", str(demo_directory), "--engine", "fake", env=env_of(root)) as process:
        wait_for(process, b"is ready after")
        process.send_signal(number)
        process.wait(60)
    assert eventually(lambda: [path.name for path in root.iterdir()] == ["locks"])


def env_of(root: Path) -> dict[str, str]:
    from tests.program import environment

    return environment({"TULU_RUNTIME_DIR": str(root)})


def wait_for(process: "subprocess.Popen[bytes]", words: bytes) -> None:
    for line in iter(pipe(process.stderr).readline, b""):
        if words in line:
            return
    pytest.fail("it ended without saying it")


def test_a_server_that_dies_in_mid_answer_is_exit_7_with_the_partial_kept(
    serve: tuple[str, ...], model: tuple[str, ...], root: Path
) -> None:
    said(*serve)
    (warm,) = warm_engines()
    with running("complete", *model, *LONG, stdin=subprocess.DEVNULL, env=env_of(root)) as process:
        first = pipe(process.stdout).read(64)
        os.kill(warm.state.server, signal.SIGKILL)
        rest, err = process.communicate(timeout=60)
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
        assert process.wait(60) == 0
    assert "a line" in said("logs")[0], "a dead engine's log is still there"


def test_two_commands_at_once_start_one_engine(model: tuple[str, ...], root: Path) -> None:
    ask = ("complete", *model, "--raw", "--keep-alive", "10m", "say it")
    command = '"$@" & "$@" & "$@" & wait'
    assert sorted(shell(command, *ask).stdout) == sorted(b"say it\n" * 3)
    assert len(warm_engines()) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_gets_nowhere(
    serve: tuple[str, ...], demo_directory: Path, root: Path
) -> None:
    if shutil.which("useradd") is None:
        pytest.skip("there is no useradd")
    said(*serve)
    (warm,) = warm_engines()
    name = f"tulu-test-{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", name], check=True, capture_output=True)
    try:
        for code in (
            "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])",
            "import sys; open(sys.argv[1].replace('socket', 'log'))",
            "import os, sys; os.listdir(os.path.dirname(sys.argv[1]))",
        ):
            tried = subprocess.run(
                ["/usr/bin/env", "-i", "python3", "-c", code, str(warm.socket)],
                user=name, extra_groups=[], capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
            assert tried.returncode == 1
            assert "PermissionError: [Errno 13]" in tried.stderr
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--host", "0.0.0.0"], 2, "--host lets others in: --api-key-file names a file"),
        (["--host", "127.0.0.1", "--detach", "--api-key-file", "x"], 2, "--host runs in the fore"),
        (["--api-key-file", "x"], 2, "--api-key-file goes with --host"),
        (["--host", "::", "--api-key-file", "/nowhere"], 65, "--api-key-file '/nowhere' cannot be"),
        (["--host", "::", "--keep-alive", "1m"], 2, "--keep-alive is for a private engine"),
        (["--ray", "auto"], 2, "--ray needs --engine vllm: fake serves this user alone."),
        (["--keep-alive", "-1"], 2, "--keep-alive takes a time such as 30s, 10m or 2h, not '-1'."),
        (["--nodes", "1"], 2, "Invalid value for '--nodes'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_one_sentence(
    demo_directory: Path, arguments: list[str], code: int, sentence: str
) -> None:
    out, err = said("serve", str(demo_directory), "--engine", "fake", *arguments, code=code)
    assert out == ""
    assert err.startswith(f"tulu: {sentence}")
    assert err.count("\n") == 1


def test_a_key_that_others_can_read_is_refused(demo_directory: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    serve = ("serve", str(demo_directory), "--engine", "fake", "--host", "::", "--api-key-file")
    key.write_text("secret\n")
    key.chmod(0o644)
    assert "is open to other users: chmod 600 it." in said(*serve, str(key), code=65)[1]
    key.chmod(0o600)
    assert "--host needs --engine vllm" in said(*serve, str(key), code=2)[1]
    for nonsense in (b"", b"two words", b"\xff", "schlüssel".encode()):
        key.write_bytes(nonsense)
        assert "--api-key-file" in said(*serve, str(key), code=65)[1]


def test_a_server_url_that_is_none(model: tuple[str, ...]) -> None:
    err = said("complete", *model, "--server", "http://127.0.0.1:9", "x", code=7)[1]
    assert err.startswith("tulu: The server at http://127.0.0.1:9 does not answer: ")
    assert (
        said("complete", *model, "--raw", "--no-server", "x", env={"TULU_SERVER": "x"})[0] == "x\n"
    )


def test_a_runtime_directory_that_is_open_is_refused(model: tuple[str, ...], root: Path) -> None:
    root.chmod(0o755)
    try:
        err = said("complete", *model, "x", code=1)[1]
    finally:
        root.chmod(0o700)
    assert "is open to other users" in err


def test_the_supervisor_runs_no_module_of_the_working_directory(
    serve: tuple[str, ...], tmp_path: Path, root: Path
) -> None:
    for name in ("json.py", "select.py", "tulu_cli.py", "uvicorn.py"):
        (tmp_path / name).write_text("raise SystemExit('mine')")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tulu_cli", *serve],
        cwd=tmp_path, env=env_of(root), capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
