"""Large files: fetched once whatever interrupts it, and not taken for whole when they are not."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.program import DEADLINE_SECONDS, eventually
from tulu_cli.disk import locked
from tulu_cli.errors import TuluError
from tulu_cli.models import locate, resolve
from tulu_cli.models.cache import hub_folder
from tulu_cli.models.hub_weights import lock_path
from tulu_cli.models.installed import look

from .fake_hub import COMMIT, FakeHub, etag
from .repository import FILES, REPO, TEXTS, WEIGHTS

# The library writes what it receives in pieces of ten million bytes.
LARGE = os.urandom(1_000_000) * 25
SHARDS = {f"model-{n}-of-6.safetensors": bytes([n]) * 100_000 for n in range(1, 7)}


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits a second before it tries again."""
    monkeypatch.setattr("time.sleep", lambda _: None)


def blob(data: bytes = WEIGHTS) -> Path:
    return hub_folder(REPO) / "blobs" / etag("x.safetensors", data)


def partial(data: bytes = WEIGHTS) -> Path:
    return blob(data).with_name(f"{blob(data).name}.tulu.incomplete")


def started(hub: FakeHub) -> list[int]:
    """From which bytes the weights were sent."""
    return [begin for name, begin in hub.ranges if name == "model.safetensors"]


def test_what_broke_off_goes_on_where_it_ended(hub: FakeHub, no_waiting: None) -> None:
    hub.repositories[REPO] = TEXTS | {"model.safetensors": LARGE}
    hub.broken.add("model.safetensors")
    with pytest.raises(TuluError):
        locate(resolve(REPO))
    come = partial(LARGE).stat().st_size
    assert 0 < come < len(LARGE)
    assert look(resolve(REPO)).state == "partial"
    assert look(resolve(REPO)).broken_off == come
    hub.broken.clear()
    hub.ranges.clear()
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == LARGE
    assert started(hub) == [come]
    assert look(resolve(REPO)).state == "complete"
    assert list(hub_folder(REPO).glob("blobs/*.incomplete")) == []


@pytest.mark.parametrize("left", [b"x" * 1000, WEIGHTS + b"x", b"x" * len(WEIGHTS)], ids=len)
def test_what_was_left_behind_broken_is_seen(hub: FakeHub, left: bytes) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)
    partial().write_bytes(left)
    if len(left) <= len(WEIGHTS):
        with pytest.raises(TuluError, match=r"did not arrive as it was published.*try again"):
            locate(resolve(REPO))
        assert not partial().exists()
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == WEIGHTS


def test_all_of_it_that_lacks_only_its_name(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)
    partial().write_bytes(WEIGHTS)
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == WEIGHTS
    assert started(hub) == []


def test_several_files(hub: FakeHub) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    heard: list[tuple[str, int, int]] = []
    directory = locate(resolve(REPO), progress=lambda *call: heard.append(call)).directory
    assert {name: (directory / name).read_bytes() for name in SHARDS} == SHARDS
    assert heard[-2:] != []
    assert (f"Downloading {REPO} (0.00 GiB)", 600_000, 600_000) in heard


def test_one_bad_file_ends_it_and_keeps_the_others(hub: FakeHub, no_waiting: None) -> None:
    hub.repositories[REPO] = TEXTS | SHARDS
    hub.broken.add("model-6-of-6.safetensors")
    with pytest.raises(TuluError):
        locate(resolve(REPO))
    hub.broken.clear()
    hub.ranges.clear()
    locate(resolve(REPO))
    sent = [name for name, _ in hub.ranges]
    assert "model-6-of-6.safetensors" in sent
    assert "model-1-of-6.safetensors" not in sent


def test_only_what_is_missing_needs_room(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO] = FILES
    room = len(WEIGHTS) // 2
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=room))
    with pytest.raises(TuluError, match=r"disk is too full for allenai.*HF_HUB_CACHE"):
        locate(resolve(REPO))
    assert hub.fetched() == set()
    locate(resolve(REPO), weights=False)
    partial().write_bytes(WEIGHTS[room:])
    locate(resolve(REPO))
    assert started(hub) == [len(WEIGHTS) - room]


def test_what_the_library_left_is_removed_unless_someone_writes_it(
    hub: FakeHub, no_waiting: None
) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)
    left = blob().with_name(f"{blob().name}.0123abcd.incomplete")
    busy = left.with_name("busy.0123abcd.incomplete")
    for path in (left, busy):
        path.write_bytes(b"half")
    with locked(lock_path(busy.with_name("busy")), lambda: None):
        locate(resolve(REPO))
    assert busy.exists()
    assert not left.exists()


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
    hub.repositories[REPO] = TEXTS | {"model.safetensors": LARGE}
    hub.stalled.add("model.safetensors")
    process = fetching(hub, hub_cache, environment)
    assert eventually(lambda: partial(LARGE).exists() and partial(LARGE).stat().st_size > 0)
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (-number, 1)
    come = partial(LARGE).stat().st_size
    assert not blob(LARGE).exists()
    hub.stalled.clear()
    hub.go_on.set()
    hub.ranges.clear()
    out, err = fetching(hub, hub_cache, environment).communicate(timeout=DEADLINE_SECONDS)
    assert err == b""
    assert started(hub) == [come]
    assert (Path(out.decode().strip()) / "model.safetensors").read_bytes() == LARGE


def test_two_at_once_fetch_it_once(
    hub: FakeHub, hub_cache: Path, environment: dict[str, str]
) -> None:
    hub.repositories[REPO] = FILES
    hub.stalled.add("model.safetensors")
    both = [fetching(hub, hub_cache, environment) for _ in range(2)]
    asked = f"/api/models/{REPO}/revision/{COMMIT}"
    assert eventually(lambda: hub.requests.count(asked) == 2)
    hub.go_on.set()
    for process in both:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert err == b""
        assert (Path(out.decode().strip()) / "model.safetensors").read_bytes() == WEIGHTS
    assert started(hub) == [0]
