"""Who is kept out of a warm engine, and what `tulu serve` refuses."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.commands.serving import env_of, said
from tulu_cli.errors import NoEngine
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.serving.options import ServeOptions, check_engine
from tulu_cli.settings import Settings
from tulu_cli.warm.finder import warm_engines

VLLM = ("--engine", "vllm")

pytestmark = pytest.mark.usefixtures("root")


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
        (["--host", "0.0.0.0"], 2, "--host 0.0.0.0 opens the server to others: name a file"),
        (["--host", "127.0.0.1", "--detach", "--api-key-file", "x"], 2, "--host runs in the fore"),
        (["--api-key-file", "x"], 2, "--api-key-file goes with --host"),
        (["--host", "::", "--api-key-file", "/nowhere"], 65, "--api-key-file '/nowhere' cannot be"),
        (["--host", "::", "--keep-alive", "1m"], 2, "--keep-alive is for a private engine"),
        (
            [*VLLM, "--ray", "auto", "--engine-arg", "distributed_executor_backend=mp"],
            2,
            "--engine-arg distributed_executor_backend contradicts --ray: leave it out.",
        ),
        (
            ["--host", "::1", "--engine-arg", "port=9"],
            2,
            "--engine-arg port contradicts --host and --port: leave it out.",
        ),
        (
            ["--host", "::1", "--engine-arg", "api_key=k"],
            2,
            "--engine-arg api_key contradicts --api-key-file: leave it out.",
        ),
        (
            ["--engine-arg", "uds=/tmp/mine"],
            2,
            "--engine-arg uds is what tulu sets itself where an engine is kept warm: leave it out.",
        ),
        ([*VLLM, "--ray", ""], 2, "--ray takes the address of a Ray cluster, such as auto or HOST"),
        ([*VLLM, "--nodes", "2", "--draft-tokens", "3"], 2, "--draft-tokens goes with --draft MO"),
        (["--ray", "auto"], 2, "--ray needs --engine vllm: fake runs on one machine."),
        (["--host", "127.0.0.1", "--port", "0"], 2, "Invalid value for '--port'"),
        (["--host", "192.0.2.1", "--api-key-file", "KEY"], 1, "Port 8000 of 192.0.2.1 cannot be"),
        (["--host", "no such", "--api-key-file", "KEY"], 2, "--host no such is not an address"),
        (["--keep-alive", "-1"], 2, "--keep-alive takes a time such as 30s, 10m or 2h, not '-1'."),
        (["--nodes", "2"], 2, "--nodes is for vLLM's server: fake runs on one machine, as one."),
        (["--nodes", "2", "--detach"], 2, "--nodes prints a script and starts nothing: leave --d"),
        (["--replicas", "2", "--host", "::"], 2, "--replicas prints a script and starts nothing:"),
        ([*VLLM, "--nodes", "2", "--deterministic"], 2, "--deterministic is for one engine: for"),
        ([*VLLM, "--nodes", "2", "--adapter", "a"], 2, "--adapter is for one engine: for several"),
        ([*VLLM, "--nodes", "2", "--replicas", "3"], 2, "--replicas 3 cannot share 2 machines ev"),
        (["--nodes", "1"], 2, "Invalid value for '--nodes'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_one_sentence(
    demo_directory: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    arguments = [str(key) if argument == "KEY" else argument for argument in arguments]
    out, err = said("serve", str(demo_directory), "--engine", "fake", *arguments, code=code)
    assert out == ""
    assert err.startswith(f"tulu: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("packages", [{"ray": "2.60.0"}, {}])
def test_a_missing_ray_is_said_with_what_installs_it(packages: dict[str, str]) -> None:
    chosen = ServeOptions(LoadOptions(Settings({})), ray="auto")
    with nullcontext() if packages else pytest.raises(NoEngine, match=r"'tulu_cli\[ray\]'\)\.$"):
        check_engine(chosen, "vllm", Machine(packages=packages))


def test_a_key_that_others_can_read_is_refused(demo_directory: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    serve = ("serve", str(demo_directory), "--engine", "fake", "--host", "::", "--api-key-file")
    key.write_text("secret\n")
    key.chmod(0o644)
    assert "is open to other users: chmod 600 it." in said(*serve, str(key), code=65)[1]
    key.chmod(0o600)
    for nonsense in (b"", b"two words", b"\xff", "schlüssel".encode()):
        key.write_bytes(nonsense)
        assert "--api-key-file" in said(*serve, str(key), code=65)[1]


def test_a_server_url_that_is_none(model: tuple[str, ...], demo_directory: Path) -> None:
    asked = ("complete", "-m", str(demo_directory))
    err = said(*asked, "--server", "http://127.0.0.1:9", "x", code=7)[1]
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
