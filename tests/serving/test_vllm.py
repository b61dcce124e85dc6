"""vLLM's own server as a warm engine: whatever is killed, nothing is left; and in public, a key."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from tests.engines.loading import Asker
from tests.leftovers import shared_memory
from tests.program import DEADLINE_SECONDS, environment, eventually, tulu
from tests.warming import load_warm, runtime, spec_of
from tulu_cli.core import Text
from tulu_cli.engines.remote.wire import Wire
from tulu_cli.errors import EngineDied
from tulu_cli.protocol.metrics import METRICS_PATH, read_waiting
from tulu_cli.serving.public import public_arguments
from tulu_cli.serving.vllm_server import main_public
from tulu_cli.warm.endpoint import Address
from tulu_cli.warm.finder import is_alive, sweep, warm_engines

from . import clients

pytestmark = pytest.mark.vllm


@pytest.fixture
def root() -> Iterator[Path]:
    with runtime() as directory:
        yield directory


@pytest.mark.parametrize(
    ("killed", "method"),
    [
        ("the worker", "fork"),
        ("the server", "spawn"),
        ("the server and its supervisor", "fork"),
    ],
)
def test_whatever_is_killed_nothing_is_left(
    root: Path, small_directory: Path, killed: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", method)
    engine = load_warm("vllm", small_directory)
    (warm,) = warm_engines()
    assert warm.socket.stat().st_mode & 0o777 == 0o600
    server = psutil.Process(warm.state.server)
    family = [psutil.Process(warm.state.supervisor), server, *server.children(recursive=True)]
    assert len(family) >= 3
    events = engine.stream(Asker(small_directory).request(max_tokens=1500, ignore_eos=True))
    assert any(isinstance(event, Text) and event.token_ids for event in events)
    shared = shared_memory(family)
    assert shared
    whose = {"the worker": family[-1:], "the server": [server]}.get(killed, family[:2])
    for process in whose:
        process.kill()
    with pytest.raises(EngineDied, match="The warm engine of demo is gone"):
        list(events)
    _, alive = psutil.wait_procs(family, timeout=DEADLINE_SECONDS)
    assert alive == []
    assert eventually(lambda: not is_alive(warm.folder))
    sweep()
    assert [path.name for path in warm.folder.iterdir()] == ["log"]
    assert eventually(lambda: not any(path.exists() for path in shared))
    engine.close()


def test_in_public_programs_are_answered_and_nobody_without_the_key(
    small_thinking_directory: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    key.chmod(0o600)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "tulu_cli",
        "serve",
        "thinker",
        "--engine",
        "vllm",
    ]
    command += ["--host", "127.0.0.1", "--port", port, "--api-key-file", str(key)]
    command += ["--max-model-len", "2048", "--dtype", "float32"]
    there = in_the_cache(small_thinking_directory, tmp_path)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(there),
        )
    try:
        assert eventually(lambda: answers_or_ended(url, process))
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        for path in ("/v1/models", "/tokenize", "/metrics", "/docs", "/load"):
            assert status(url + path) == 401
        told = Wire(Address(url=url, api_key="secret"), {}).text(METRICS_PATH)
        assert read_waiting(told) == 0, "vLLM says how many requests wait"
        listed = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"secret" not in listed, "others can list processes"
        ask = ["complete", "-m", "thinker", "--server", url, "--greedy", "--max-tokens", "3"]
        keyed = {**there, "KEY": "secret"}
        done = tulu(*ask, "--api-key-env", "KEY", "Why is the sky blue?", env=keyed)
        assert done.returncode == 0, done.stderr.decode()
        assert len(done.stdout.split()) == 3
        done = tulu(*ask, "Why is the sky blue?", env=there)
        assert done.returncode == 1
        assert b"The server requires a key" in done.stderr
        check_clients(url, small_thinking_directory)
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(DEADLINE_SECONDS)
            psutil.wait_procs(family, timeout=DEADLINE_SECONDS)


def test_memory_that_is_too_small_in_public_is_exit_3(
    small_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)  # it would come first
    own = ("--engine", "vllm", "--engine-arg", "kv_cache_memory_bytes=100000")
    done = tulu("serve", str(small_directory), *own, "--host", "127.0.0.1", "--port", free_port())
    last = done.stderr.decode().splitlines()[-1]
    assert done.returncode == 3, last
    assert last.startswith(f"tulu: {small_directory} does not fit in memory: ValueError: No ")


@pytest.mark.filterwarnings("ignore")  # vLLM has its own when it is imported
def test_a_setting_that_vllm_refuses_in_public_is_one_sentence(
    small_directory: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    spec = spec_of(small_directory, engine_args={"max_num_seqs": 64, "max_num_batched_tokens": 32})
    arguments = public_arguments(spec, "127.0.0.1", int(free_port()))
    assert main_public("small", "cpu", arguments) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "vLLM" in line]
    assert line.startswith("tulu: vLLM cannot load small: ")
    assert "max_num_batched_tokens (32)" in line


def in_the_cache(model: Path, folder: Path) -> dict[str, str]:
    """The environment in which the model is org/thinker of the Hub, and called thinker."""
    repository = folder / "hub" / "models--org--thinker"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("a" * 40)).symlink_to(model)
    config = folder / "config.toml"
    config.write_text('[alias]\nthinker = "org/thinker"\n')
    return {"HF_HUB_CACHE": str(folder / "hub"), "TULU_CONFIG": str(config)}


def check_clients(url: str, directory: Path) -> None:
    """The OpenAI client and lm-eval get from vLLM's server what the page says."""
    client = OpenAI(base_url=f"{url}/v1", api_key="secret")
    model, alias = (row.id for row in client.models.list())
    assert (model, alias) == ("org/thinker", "thinker")
    ask = clients.Asker(url, "secret", model, alias)
    found = {name: clients.outcome(check, ask) for name, check in clients.FEATURES.items()}
    # It loads what vLLM must not fork with, and so is asked for in a process of its own.
    command = [sys.executable, "-m", "tests.serving.clients", url, model, str(directory)]
    done = subprocess.run(
        command, env=environment({"KEY": "secret"}), capture_output=True, text=True, check=False
    )
    found[clients.LM_EVAL_TEXTS] = "yes" if done.returncode == 0 else done.stderr[-500:]
    assert found == clients.told_outcomes("vllm")


def free_port() -> str:
    """A port of this machine that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def answers_or_ended(url: str, process: "subprocess.Popen[bytes]") -> bool:
    return status(f"{url}/health") == 200 or process.poll() is not None


def status(url: str) -> int:
    """The status of a GET; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
