"""`tulu batch --ray` as its users run it: on a cluster of two workers, which are killed."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.program import environment, eventually, running, tulu

ROWS = 160


@dataclass(frozen=True)
class Cluster:
    """A cluster of this machine alone, with room for two workers."""

    process: psutil.Process
    environment: dict[str, str]

    def workers(self) -> dict[int, str]:
        """The processes that have a worker, by their number, each with what it is called now."""
        found = {}
        for one in self.process.children(recursive=True):
            with suppress(psutil.Error, IndexError):  # it ends meanwhile
                if (name := one.cmdline()[0]).startswith("ray::WorkerActor"):
                    found[one.pid] = name
        return found

    def answering(self, *others: int) -> int:
        """A worker beside others that has loaded the model: Ray shows the method that runs."""
        found: list[int] = []

        def is_there() -> bool:
            for number, name in self.workers().items():
                if "exchange" in name and number not in others:
                    found.append(number)
            return bool(found)

        assert eventually(is_there)
        return found[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # A socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    lean = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_metrics_collection": "0"}
    key = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    options = ("--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false")
    started = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--temp-dir={folder}",
         "--object-store-memory=80000000", "--disable-usage-stats"],
        env=environment(lean | key), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    process = psutil.Process(started.pid)
    try:
        place = folder / "ray_current_cluster"
        assert eventually(lambda: place.exists() and bool(place.read_text()))
        yield Cluster(process, environment({"RAY_ADDRESS": place.read_text().strip()} | key))
    finally:
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_no_row_is_lost_with_a_worker_or_with_the_driver(
    cluster: Cluster, demo_directory: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    made = ({"id": f"r{number}", "text": "fake: wait 0.1"} for number in range(ROWS))
    source.write_text("".join(f"{json.dumps(row)}\n" for row in made))
    files = (str(source), "-o", str(output), "--resume")
    model = ("--engine", "fake", "-m", str(demo_directory))
    command = ("batch", *files, *model, "--ray")

    def written() -> int:
        return output.read_bytes().count(b"\n") if output.exists() else 0

    with running(*command, "auto", "--workers", "2", env=cluster.environment) as driver:
        # Each stops until another one answers, so that there still are rows then.
        assert eventually(lambda: written() > 4)
        killed = cluster.answering()
        os.kill(killed, signal.SIGSTOP)
        other = cluster.answering(killed)
        os.kill(other, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        assert cluster.answering(killed, other)
        os.kill(other, signal.SIGCONT)
        before = written()
        assert eventually(lambda: written() > before)
        driver.kill()
        told, said = driver.communicate()
    # What Ray says of the worker would stand among records on stdout.
    assert told == b""
    assert re.search(rb"worker \d on \S+ has ended\. Its \d+ requests? in flight go", said), said
    assert 0 < written() < ROWS
    assert eventually(lambda: not cluster.workers())
    # A cluster of its own, which leaves nothing in the user's home.
    done = tulu(*command, "local", env={"HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    answered = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(row["id"] for row in answered) == sorted(f"r{number}" for number in range(ROWS))
    assert {row["text"] for row in answered} == {"waited"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "2"), "--workers goes with --ray."),
        (("--ray", "ray://head:10001"), "--ray takes HOST:PORT, auto or local"),
        (("--ray", "local", "--server", "http://x"), "leave --server out."),
        (("--ray", "foo"), "--ray takes HOST:PORT, auto or local, not 'foo'."),
        (("--ray", "auto", "--server-wait", "9"), "--server-wait goes with several servers"),
        (("--mixed", "--server", "http://x"), "--mixed goes with several servers: --server names"),
        (("--in-flight", "9"), "--in-flight is how many requests a server is given"),
        (
            ("--in-flight", "9", "--server", "http://x", "--no-server"),
            "--no-server and --server cannot",
        ),
        (("--in-flight", "4097", "--server", "http://x"), "less than or equal to 4096"),
        (("--ray", "localhost:1"), "The Ray cluster at localhost:1 does not answer:"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, ...], said: str) -> None:
    done = tulu("batch", "-m", "demo", "--engine", "fake", *arguments, stdin=b"{}")
    assert done.returncode == (1 if "localhost:1" in arguments else 2)
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert said in line
