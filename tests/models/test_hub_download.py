"""Weights: fetched by the library, complete after any interruption, never taken for complete."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.program import DEADLINE_SECONDS, eventually
from tulu_cli.errors import ModelNotFound, TuluError
from tulu_cli.models import locate, resolve
from tulu_cli.models.hub import hub_folder
from tulu_cli.models.installed import look

from .fake_hub import FakeHub, etag
from .repository import FILES, REPO, TEXTS, WEIGHTS

# The library writes what it receives in pieces of ten million bytes.
LARGE = os.urandom(1_000_000) * 25
SHARDS = {f"model-{n}-of-6.safetensors": bytes([n]) * 100_000 for n in range(1, 7)}
HOURS_AGO = (0, 0)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits a second before it tries again."""
    monkeypatch.setattr("time.sleep", lambda _: None)


def partial(cache: Path) -> list[Path]:
    """The library's files of downloads that run, or were killed."""
    return [path for path in cache.glob("*/blobs/*.incomplete") if size_of(path)]


def size_of(path: Path) -> int:
    """The bytes of a file; 0 if the library has given it its last name meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sent(hub: FakeHub) -> list[str]:
    """The files whose bytes were sent."""
    return [name for name, _ in hub.ranges]


def test_several_files(hub: FakeHub) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    heard: list[tuple[str, int, int]] = []
    directory = locate(resolve(REPO), progress=lambda *call: heard.append(call)).directory
    assert {name: (directory / name).read_bytes() for name in SHARDS} == SHARDS
    assert (f"Downloading {REPO} (0.00 GiB)", 600_000, 600_000) in heard
    assert {name for name in SHARDS if (name, 100_000, 100_000) in heard} == set(SHARDS)


def test_a_connection_that_breaks_off_ends_in_one_sentence(hub: FakeHub, no_waiting: None) -> None:
    hub.repositories[REPO] = TEXTS | {"model.safetensors": LARGE}
    hub.broken.add("model.safetensors")
    with pytest.raises(ModelNotFound, match=r"cannot be reached: check the connection and try"):
        locate(resolve(REPO))
    assert look(resolve(REPO)).state == "partial"
    with pytest.raises(ModelNotFound):
        locate(resolve(REPO), offline=True)
    hub.broken.clear()
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == LARGE
    assert look(resolve(REPO)).state == "complete"


def test_a_hub_that_is_gone_in_the_middle(hub: FakeHub, no_waiting: None) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS

    def hear(stage: str, _done: int, _total: int) -> None:
        if stage.startswith("Downloading"):
            hub.broken = set(SHARDS)
            hub.refuse[REPO] = (500, "")

    with pytest.raises(TuluError) as caught:
        locate(resolve(REPO), progress=hear)
    assert REPO in str(caught.value)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith(("try again later.", "try again."))


def test_a_file_of_another_size_than_it_was_published(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    hub.cut.add("model.safetensors")
    with pytest.raises(TuluError, match=r"Fetching allenai.*Consistency check failed.*try again"):
        locate(resolve(REPO))
    assert look(resolve(REPO)).state == "partial"
    hub.cut.clear()
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == WEIGHTS


def test_one_bad_file_ends_it_and_keeps_the_others(hub: FakeHub, no_waiting: None) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    hub.broken.add("model-6-of-6.safetensors")
    with pytest.raises(TuluError):
        locate(resolve(REPO))
    hub.broken.clear()
    hub.ranges.clear()
    locate(resolve(REPO))
    assert "model-6-of-6.safetensors" in sent(hub)
    assert "model-1-of-6.safetensors" not in sent(hub)


def test_only_what_is_missing_needs_space(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(TuluError, match=r"Downloading allenai.* of disk .*HF_HUB_CACHE"):
        locate(resolve(REPO))
    assert hub.fetched() == set()
    locate(resolve(REPO), weights=False)
    blobs = hub_folder(REPO) / "blobs"
    for name, data in list(SHARDS.items())[1:]:
        (blobs / etag(name, data)).write_bytes(data)
    locate(resolve(REPO))
    assert set(sent(hub)) - set(TEXTS) == {"model-1-of-6.safetensors"}


def test_a_disk_that_fills_meanwhile(
    hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)

    def usage(path: str | Path) -> SimpleNamespace:
        """Space where we look before the download, and none where the library looks in it."""
        return SimpleNamespace(free=0 if Path(path).name == "blobs" else 10**9)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(TuluError, match=r"disk is too full for allenai.*HF_HUB_CACHE"):
        locate(resolve(REPO))
    assert partial(hub_cache) == []


def test_what_a_killed_download_has_left_is_removed_once_it_is_old(
    hub: FakeHub, hub_cache: Path
) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)
    left, running = (hub_folder(REPO) / f"blobs/{n}.0123abcd.incomplete" for n in "12")
    for path in (left, running):
        path.write_bytes(b"half")
    os.utime(left, HOURS_AGO)
    locate(resolve(REPO))
    assert partial(hub_cache) == [running]
    assert look(resolve(REPO)).bytes == 4 + sum(len(FILES[name]) for name in hub.fetched())


PROGRAM = """
import sys
from huggingface_hub import constants
from tulu_cli.models import locate, resolve
print(locate(resolve(sys.argv[1])).directory)
"""


def fetching(hub: FakeHub, cache: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    settings = {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    settings["HF_HUB_DOWNLOAD_TIMEOUT"] = "60"  # the hub stalls until another process is there
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, REPO],
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_in_the_middle(
    hub: FakeHub, hub_cache: Path, environment: dict[str, str], number: int
) -> None:
    shards = {"model-1-of-2.safetensors": WEIGHTS, "model-2-of-2.safetensors": LARGE}
    index = json.dumps({"weight_map": dict(zip(shards, shards, strict=True))}).encode()
    hub.repositories[REPO] = TEXTS | shards | {"model.safetensors.index.json": index}
    hub.stalled.add("model-2-of-2.safetensors")
    process = fetching(hub, hub_cache, environment)
    come = hub_folder(REPO) / "blobs" / etag("model-1-of-2.safetensors", WEIGHTS)
    assert eventually(lambda: bool(partial(hub_cache)) and come.exists())
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (-number, 1)
    assert look(resolve(REPO)).state == "partial"
    hub.stalled.clear()
    hub.go_on.set()
    hub.ranges.clear()
    out, err = fetching(hub, hub_cache, environment).communicate(timeout=DEADLINE_SECONDS)
    assert err == b""
    assert sent(hub) == ["model-2-of-2.safetensors"]
    assert (Path(out.decode().strip()) / "model-2-of-2.safetensors").read_bytes() == LARGE
    assert look(resolve(REPO)).state == "complete"


def test_two_at_once_fetch_it_once(
    hub: FakeHub, hub_cache: Path, environment: dict[str, str]
) -> None:
    hub.repositories[REPO] = FILES
    hub.stalled.add("model.safetensors")
    both = [fetching(hub, hub_cache, environment) for _ in range(2)]
    # Each asks for the size before it takes the library's lock.
    asked = f"/{REPO}/resolve/"
    assert eventually(
        lambda: sum(asked in path and path.endswith("s") for path in hub.requests) == 3
    )
    hub.go_on.set()
    for process in both:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert err == b""
        assert (Path(out.decode().strip()) / "model.safetensors").read_bytes() == WEIGHTS
    assert sent(hub).count("model.safetensors") == 1
