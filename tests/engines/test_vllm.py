"""The vLLM engine's own: worker processes, which must never outlive the command."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.forkserver import Forked
from tests.leftovers import shared_memory
from tests.program import DEADLINE_SECONDS, TULU, eventually
from tulu_cli.errors import UsageError
from tulu_cli.machine import Gpu, Machine

from .loading import load_engine

COMPLETE = ["complete", "--engine", "vllm", "--max-model-len", "2048"]
# What takes most of a start's time, where it is not the start that is looked at.
IMPORTED = (
    "vllm.engine.arg_utils",
    "vllm.v1.engine.async_llm",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.llama",
)
LONG = ["--greedy", "--ignore-eos", "--max-tokens", "1500", "Write a long story."]
TWO_STAGES = ("--pipeline-parallel-size", "2")
# vLLM spawns where it cannot fork: once CUDA has been initialised, and under WSL.
FORK, SPAWN = {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}, {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}

pytestmark = pytest.mark.vllm


def begin(
    directory: Path, *arguments: str, env: Mapping[str, str] = FORK
) -> "subprocess.Popen[bytes]":
    """A long answer, of which the first bytes have come."""
    process = start(directory, *(arguments or LONG), env=env)
    assert process.stdout is not None
    assert process.stdout.read(10), process.communicate()[1].decode()
    return process


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Fail if one of these still runs at the deadline."""
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_SECONDS)
    for process in alive:
        process.kill()
    assert alive == []


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The processes that the command has started."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    assert found
    return found


def engines(started: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are not Python's tracker of shared memory."""
    return [one for one in started if not any("resource_tracker" in w for w in one.cmdline())]


def test_a_killed_worker_is_exit_7_with_the_partial_kept(small_directory: Path) -> None:
    process = begin(small_directory)
    started = workers(process)
    started[-1].kill()
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 7, errors.decode()
    assert output.endswith(b"\n")
    (line,) = errors.decode().splitlines()
    assert line.startswith("tulu: vLLM's worker process died")
    wait_until_gone(started)


def test_who_waits_for_a_step_takes_no_core(small_directory: Path) -> None:
    with begin(small_directory) as process:
        started = engines(workers(process))

        def used() -> list[float]:
            return [sum(one.cpu_times()[:2]) for one in started]

        before = used()
        assert eventually(lambda: max(used()) > max(before) + 1)
        waited, computed = sorted(b - a for a, b in zip(before, used(), strict=True))
        process.kill()
    assert waited < computed / 2
    wait_until_gone(started)


@pytest.mark.parametrize(
    ("stages", "method"), [((), FORK), (TWO_STAGES, FORK), (TWO_STAGES, SPAWN)]
)
def test_a_killed_command_leaves_no_worker_and_no_shared_memory(
    small_directory: Path, stages: tuple[str, ...], method: Mapping[str, str]
) -> None:
    process = begin(small_directory, *LONG, *stages, env=method)
    started = workers(process)
    shared = shared_memory([psutil.Process(process.pid), *started])
    assert shared
    assert all(os.getpgid(worker.pid) != os.getpgid(process.pid) for worker in engines(started))
    process.kill()
    process.communicate()
    wait_until_gone(started)
    assert eventually(lambda: not any(path.exists() for path in shared))


def test_the_sockets_of_a_killed_command_go_with_the_next() -> None:
    from tulu_cli.processes import private_folder

    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    here = os.getpid()
    names = (f"{dead.pid}-a", f"{here}-b", "unknown", "x-y")
    gone, *kept = (Path(f"/tmp/tulu-vllm-{name}") for name in names)
    try:
        for folder in (gone, *kept):
            folder.mkdir()
            (folder / "socket").touch()
        with private_folder("vllm") as name:
            assert name.startswith(f"/tmp/tulu-vllm-{here}-")
            assert Path(name).stat().st_mode & 0o777 == 0o700
            assert len(f"{name}/{uuid4()}") <= 103, "of a socket's path"
            assert not gone.exists()
            assert all((folder / "socket").exists() for folder in kept)
    finally:
        for folder in (gone, *kept):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("number", "code", "method"),
    [(signal.SIGINT, 130, FORK), (signal.SIGTERM, 143, FORK), (signal.SIGINT, 130, SPAWN)],
)
def test_an_interrupt_keeps_the_partial_and_leaves_no_worker(
    small_directory: Path, number: int, code: int, method: Mapping[str, str]
) -> None:
    process = begin(small_directory, env=method)
    started = workers(process)
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == code, errors.decode()
    assert errors == b""
    assert output.endswith(b"\n")
    wait_until_gone(started)


def test_an_answer_is_all_that_is_on_stdout_and_nothing_is_left(
    small_directory: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [
            *TULU,
            *COMPLETE,
            "-m",
            str(small_directory),
            "--regex",
            "sky blue",
            "Which colour is the sky?",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    shared: set[Path] = set()
    while process.poll() is None:
        shared |= shared_memory(psutil.Process(process.pid).children(recursive=True))
        time.sleep(0.1)
    assert shared
    assert process.communicate() == (b"sky blue\n", b"")
    assert process.returncode == 0
    # torch keeps a cache for each user there.
    assert [path.name for path in tmp_path.iterdir() if "torchinductor" not in path.name] == []
    assert list(Path("/tmp").glob(f"tulu-vllm-{process.pid}-*")) == []
    assert eventually(lambda: not any(path.exists() for path in shared))


def test_a_worker_leaves_its_modules_alone_when_it_ends() -> None:
    """vLLM unfreezes them there, and would copy and search them all for garbage."""
    script = (
        "import gc, os; from tulu_cli.engines.worker import minded_workers\n"
        "with minded_workers():\n"
        "    if not (child := os.fork()):\n"
        "        gc.unfreeze(); os._exit(not gc.get_freeze_count())\n"
        "    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the import of vLLM
def test_a_device_of_another_build_is_a_usage_error(small_directory: Path) -> None:
    with pytest.raises(UsageError, match=r"^This vLLM is built for cpu and cannot run on cuda:1"):
        load_engine("vllm", small_directory, device="cuda:1")


def test_an_unknown_argument_is_a_usage_error(small_directory: Path) -> None:
    done = run_once(small_directory, "--engine-arg", "no_such_thing=1", "Hi")
    assert done.returncode == 2
    assert done.stderr.startswith("tulu: vLLM does not take this --engine-arg")
    assert len(done.stderr.splitlines()) == 1


def test_two_stages_of_a_pipeline_answer_as_one(small_directory: Path) -> None:
    question = ("--greedy", "--max-tokens", "16", "Why is the sky blue?")
    piped = run_once(small_directory, *question, *TWO_STAGES)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert piped.stdout == run_once(small_directory, *question).stdout


def test_parts_that_do_not_come_out_even_are_one_sentence(small_directory: Path) -> None:
    done = run_once(small_directory, "Hi", "--tensor-parallel-size", "2")
    assert done.returncode == 1
    assert "attention heads (9) must be divisible by tensor parallel size (2)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("method", [FORK, SPAWN], ids=["fork", "spawn"])
def test_broken_weights_are_one_sentence(
    small_directory: Path, tmp_path: Path, method: Mapping[str, str]
) -> None:
    broken = shutil.copytree(small_directory, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    done = run_once(broken, "Hi", env=method)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert "cannot load" in line
    assert "initialization failed" not in line


@pytest.mark.parametrize(
    ("cache_bytes", "reason", "method"),
    [(10**5, "No available memory", FORK), (2 * 10**6, "KV cache is needed", SPAWN)],
)
def test_memory_that_is_too_small_is_exit_3(
    small_directory: Path,
    cache_bytes: int,
    reason: str,
    method: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)  # it would come first
    own = ("--engine-arg", f"kv_cache_memory_bytes={cache_bytes}")
    done = run_once(small_directory, *own, "Hi", env=method)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert "does not fit in memory: ValueError: " in line
    assert reason in line


def run_once(
    directory: Path, *arguments: str, env: Mapping[str, str] = FORK
) -> "subprocess.CompletedProcess[str]":
    with start(directory, *arguments, env=env) as process:
        output, errors = (stream.decode() for stream in process.communicate())
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(directory: Path, *arguments: str, env: Mapping[str, str]) -> Forked:
    """The program, which has imported vLLM already; what it spawns has to do so itself."""
    streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    asked = [*COMPLETE, "-m", str(directory), *arguments]
    options = {"stdin": subprocess.DEVNULL, "env": os.environ | env, **streams}
    return Forked(asked, libraries=IMPORTED, **options)


def test_it_says_why_it_cannot_run() -> None:
    from tulu_cli.engines.vllm import why_not

    gpu = Gpu(0, "H100", 80 * 2**30, 80 * 2**30)
    assert why_not(Machine(gpus=(gpu,), packages={"vllm": "0.32"})) is None
    assert why_not(Machine(packages={"vllm-cpu": "0.32"})) is None
    assert "needs a GPU" in str(why_not(Machine(packages={"vllm": "0.32"})))
    assert "not installed" in str(why_not(Machine(gpus=(gpu,))))
