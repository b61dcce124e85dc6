"""`tulu models pull` against a Hub on this machine: resumed, shared, refused, offline."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.models.fake_hub import COMMIT, FakeHub, fill_cache
from tests.models.repository import FILES, REPO, TEXTS, WEIGHTS
from tests.program import DEADLINE_SECONDS, TULU, environment, eventually, running, tulu
from tulu_cli.commands.models.pull import PullOptions, reference
from tulu_cli.errors import UsageError
from tulu_cli.models import resolve
from tulu_cli.models.installed import converted_path

# More than one of the pieces of ten million bytes in which the library writes.
LARGE = os.urandom(1_000_000) * 25
SHARDS = {f"model-0000{number}-of-00002.safetensors": LARGE + bytes([number]) for number in (1, 2)}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as server:
        server.repositories[REPO] = FILES
        yield server


@pytest.fixture
def env(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    """The environment in which the program takes that Hub for the real one."""
    return {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "60",  # the hub stalls until another command is there
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def told(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What is said, without the licence."""
    lines = done.stderr.decode().splitlines()
    return [line for line in lines if line.startswith("tulu: ") and "Licence" not in line]


def test_a_pipe_gets_the_directory_and_nothing_else(hub: FakeHub, env: dict[str, str]) -> None:
    done = tulu("models", "pull", "8b", env=env)
    assert done.returncode == 0
    directory = Path(done.stdout.decode().rstrip("\n"))
    assert directory.name == COMMIT
    assert {path.name for path in directory.iterdir()} == {*TEXTS, "model.safetensors"}
    assert told(done) == [
        f"tulu: Reading the configuration of {REPO}",
        f"tulu: Downloading {REPO} (0.00 GiB)",
        "tulu: model.safetensors",
        "tulu: 8b is here: 0.00 GiB.",
    ]
    assert b"\x1b" not in done.stderr
    assert b"Licence and limits" in done.stderr
    hub.ranges.clear()
    again = tulu("models", "pull", "8b", "--json", env=env)
    size = sum(map(len, TEXTS.values())) + len(WEIGHTS)
    assert json.loads(again.stdout) == {
        "model": REPO,
        "revision": COMMIT,
        "directory": str(directory),
        "bytes": size,
    }
    assert (again.stderr, hub.ranges) == (b"", [])


def test_offline(hub: FakeHub, env: dict[str, str]) -> None:
    for options, variables in ((["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})):
        done = tulu("models", "pull", "8b", *options, env=env | variables)
        assert (done.returncode, done.stdout) == (5, b"")
        assert b"not in the cache" in done.stderr
        assert b"Licence" not in done.stderr
    assert hub.requests == []
    fill_cache(Path(env["HF_HUB_CACHE"]), REPO, FILES)
    assert tulu("models", "pull", "8b", "--offline", env=env).returncode == 0
    assert hub.requests == []


def test_a_revision(hub: FakeHub, env: dict[str, str]) -> None:
    done = tulu("models", "pull", "8b", "--revision", COMMIT, env=env)
    assert done.returncode == 0
    missing = tulu("models", "pull", REPO, "--revision", "v9", env=env)
    assert missing.returncode == 5
    assert f"no revision {REPO}@v9".encode() in missing.stderr


@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        ("8b@main", "v1", "--revision and @main in the name cannot be combined."),
        ("demo", "v1", "--revision goes with a repository of the Hugging Face Hub."),
    ],
)
def test_revisions_that_make_no_sense(name: str, revision: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        reference(PullOptions(name, revision), {})
    assert str(caught.value) == sentence


def test_a_revision_of_an_alias() -> None:
    ref = reference(PullOptions("ours", "v1"), {"ours": "org/name"})
    assert (ref.repo, ref.revision) == ("org/name", "v1")


def test_a_directory_is_here_already(demo_directory: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing to fetch"):
        reference(PullOptions(str(demo_directory)), {})


def test_the_demo_comes_the_demos_way(demo_directory: Path, env: dict[str, str]) -> None:
    cache = {"TULU_CACHE_DIR": str(demo_directory.parents[1])}
    done = tulu("models", "pull", "demo", "--offline", env=env | cache)
    assert done.stdout.decode() == f"{demo_directory}\n"
    assert converted_path(resolve("demo")).name == demo_directory.name


def has_bytes(path: Path) -> bool:
    """Whether a file is there and not empty; it may get its final name at any moment."""
    with suppress(FileNotFoundError):
        return path.stat().st_size > 0
    return False


def test_killed_and_pulled_again(hub: FakeHub, env: dict[str, str]) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    hub.stalled = set(SHARDS)
    cache = Path(env["HF_HUB_CACHE"])
    with running("models", "pull", "8b", env=environment(env)) as process:
        assert eventually(
            lambda: sum(map(has_bytes, cache.glob("*/blobs/*.incomplete"))) == len(SHARDS)
        )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    offline = tulu("models", "pull", "8b", "--offline", env=env)
    assert offline.returncode == 5
    hub.stalled.clear()
    hub.go_on.set()
    hub.ranges.clear()
    done = tulu("models", "pull", "8b", env=env)
    assert done.returncode == 0
    for name, data in SHARDS.items():
        assert Path(done.stdout.decode().strip(), name).read_bytes() == data


def test_ctrl_c_stops_at_once(hub: FakeHub, env: dict[str, str]) -> None:
    hub.repositories[REPO] = TEXTS | {"model.safetensors": LARGE}
    hub.stalled = {"model.safetensors"}
    patient = {"HF_HUB_DOWNLOAD_TIMEOUT": "3600"}  # whoever waits for the bytes waits too long
    with running("models", "pull", "8b", env=environment(env | patient)) as process:
        assert eventually(lambda: ("model.safetensors", 0) in hub.ranges)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert out == b""
    assert b"Traceback" not in err


def test_two_at_once(hub: FakeHub, env: dict[str, str]) -> None:
    hub.stalled = {"model.safetensors"}
    command = [*TULU, "models", "pull", "8b"]
    both = [
        subprocess.Popen(
            command, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    asked = f"/{REPO}/resolve/{COMMIT}/model.safetensors"  # each its size, and one the bytes
    assert eventually(lambda: hub.requests.count(asked) == 3)
    hub.go_on.set()
    outs = {process.communicate(timeout=DEADLINE_SECONDS)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(outs) == 1
    assert hub.ranges.count(("model.safetensors", 0)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk(hub: FakeHub, env: dict[str, str], tmp_path: Path) -> None:
    hub.repositories[REPO] = TEXTS | {"model.safetensors": LARGE}
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        done = tulu("models", "pull", "8b", env=env | {"HF_HUB_CACHE": str(small / "hub")})
        assert done.returncode == 1
        assert b"Downloading allenai" in done.stderr
        assert b"of disk" in done.stderr
        assert b"HF_HUB_CACHE" in done.stderr
        assert hub.fetched() == set()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_home_that_cannot_be_written(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    done = tulu("models", "pull", "8b", env=env)
    assert done.returncode == 0
    assert b"Licence and limits" in done.stderr


def test_complete_shows_the_licence_too(hub: FakeHub, env: dict[str, str]) -> None:
    arguments = ("complete", "-m", "8b", "--engine", "fake", "--raw", "x")
    first = tulu(*arguments, env=env)
    assert b"Licence and limits" in first.stderr
    assert b"limited safety training" in first.stderr
    assert first.stdout == b""
    assert b"Licence" not in tulu(*arguments, env=env).stderr
