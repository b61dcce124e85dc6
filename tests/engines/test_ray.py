"""A worker on Ray without Ray: what its process does between its driver and its engine."""

import math
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tulu_cli.core import EngineInfo
from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.ray import RayOptions
from tulu_cli.engines.ray import cluster as clusters
from tulu_cli.engines.ray.actor import LEAST_WAITING, Call, WorkerActor
from tulu_cli.engines.ray.cluster import Cluster, place_of
from tulu_cli.engines.ray.engine import Silent
from tulu_cli.engines.ray.files import Files
from tulu_cli.engines.ray.order import Order
from tulu_cli.errors import BadInput, EngineDied, ModelNotFound, NoEngine, TuluError, UsageError
from tulu_cli.loading.workers import reached
from tulu_cli.machine import Machine
from tulu_cli.models import ModelFiles, ModelRef, locate, resolve
from tulu_cli.prompt import LateTokenizer
from tulu_cli.protocol.fields import BadField
from tulu_cli.settings import read_settings
from tulu_cli.streams import Streams

REQUESTS = 1000
AT_ONCE = 100  # the requests that an engine takes before it answers one


def order_for(files: Files) -> Order:
    """An order of another release."""
    place = files.directory
    return Order("fake", EngineSpec("m", place, LateTokenizer(place), 64), "0.0.1", files)


class Engine:
    """Answers a request with itself, many at once; `answer` may do something else."""

    def __init__(self, answer: Callable[[int], Any] = lambda request: request) -> None:
        self._answer = answer

    def batch(self, requests: Iterable[int]) -> Iterator[tuple[int, Any]]:
        taken: list[tuple[int, int]] = []
        for position, request in enumerate(requests):
            if len(taken) == AT_ONCE:
                first, asked = taken.pop(0)
                yield first, self._answer(asked)
            taken.append((position, request))
        for position, request in taken:
            yield position, self._answer(request)


def exchange_all(engine: Engine) -> tuple[list[tuple[int, Any]], TuluError | None, int]:
    """Give a call all requests, as its driver does: the answers, why it failed, the most held."""
    call = Call(0, "batch")
    threading.Thread(target=call.run, args=(engine,), daemon=True).start()
    source, wanted, is_last = iter(range(REQUESTS)), LEAST_WAITING, False
    answers: list[tuple[int, Any]] = []
    given = most = 0
    while True:
        some = [one for _, one in zip(range(wanted), source, strict=False)]
        given += len(some)
        most = max(most, given - len(answers))
        is_last = given == REQUESTS
        told = pickle.loads(pickle.dumps(call.exchange(some, is_last=is_last)))
        answers += told.answers
        if told.is_over:
            return answers, told.failure, most
        wanted = told.wanted


def test_an_engine_is_given_what_it_takes_and_little_more() -> None:
    answers, failure, most = exchange_all(Engine())
    assert sorted(answers) == [(number, number) for number in range(REQUESTS)]
    assert failure is None
    # All that it takes at once, and what it may take while an exchange is on its way.
    assert AT_ONCE < most <= 4 * AT_ONCE + 256


def test_errors_of_every_kind_come_through() -> None:
    def answer(request: int) -> Any:
        if request == 150:
            raise RuntimeError("its memory is gone")
        return BadField("n", "is wrong.") if request == 7 else request

    answers, failure, _ = exchange_all(Engine(answer))
    (wrong,) = (said for position, said in answers if position == 7)
    assert (type(wrong), str(wrong)) == (BadInput, "n is wrong.")
    assert isinstance(failure, EngineDied)
    assert "RuntimeError: its memory is gone" in str(failure)


def test_a_worker_loads_the_very_files_of_its_driver(
    demo_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    shutil.copytree(demo_directory, ours)
    shutil.copytree(ours, theirs)  # another machine's copy, of another time
    os.utime(theirs / "config.json", (0, 0))
    files = Files.of(resolve(str(ours)), ours)
    assert replace(files, directory=theirs).here() == theirs
    weights = theirs / "model.safetensors"
    held = weights.read_bytes()
    weights.write_bytes(held[: -(2**20)] + bytes(2**20))  # as large, and trained otherwise
    with pytest.raises(ModelNotFound, match=f"{theirs} has other files there than here"):
        replace(files, directory=theirs).here()
    with pytest.raises(ModelNotFound, match=r"neither in .*gone nor in the cache"):
        replace(files, ref=replace(files.ref, path=Path("/gone")), directory=Path("/gone")).here()
    told = WorkerActor().load(order_for(files))
    assert isinstance(told, NoEngine), "another release is not tried again"
    # What the Hub has is named by its commit, whatever the main branch is on that machine.
    asked: list[ModelRef] = []

    def located(ref: ModelRef, *, offline: bool) -> ModelFiles:
        assert offline
        asked.append(ref)
        return locate(resolve(str(ours)))

    monkeypatch.setattr("tulu_cli.engines.ray.files.locate", located)
    commit = "0" * 40
    hub = Files.of(resolve("ours", {"ours": "org/name@v2"}), Path("/there") / commit)
    assert hub.here() == ours
    assert (asked[0].repo, asked[0].revision) == ("org/name", commit)


@pytest.mark.parametrize(
    ("named", "place", "said"),
    [
        ("10.0.0.1:6379", "10.0.0.1:6379", ""),
        ("local", "local", ""),
        ("", "local", "127.0.0.1:1, the last one of this machine, does not answer: another one"),
    ],
)
def test_where_auto_is(
    named: str, place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", named)
    heard: list[str] = []
    assert place_of("auto", heard.append) == place
    assert said in "".join(heard)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UsageError, match=r"RAY_ADDRESS takes HOST:PORT, auto or local"):
        place_of("auto", heard.append)


def test_without_ray_it_says_how_to_get_it() -> None:
    asked = reached(RayOptions("auto"), read_settings({}), Machine(), Streams.standard())
    with pytest.raises(NoEngine, match=r"pip install 'tulu_cli\[ray\]'"), asked:
        pass


class Placed:
    """A worker of a cluster that has room, or has none any more. `asked` is all that was asked."""

    has_room = True
    asked: list[tuple[str, bool, bool]]
    cluster: Cluster

    def __init__(self, _made: Any, name: str, _is_left: threading.Event) -> None:
        self.name = name

    def ask(self, method: str, *_: Any, within: float = math.inf) -> Any:
        self.asked.append((method, within < math.inf, self.cluster.is_loading("worker 1")))
        if not self.has_room:
            raise Silent("nothing was said")
        return "there" if method == "host" else EngineInfo("fake", "m", None, "cpu", "", 64, {})

    def end(self) -> None:
        self.asked.append(("end", False, False))


def test_a_worker_that_had_room_is_waited_for_with_a_limit_and_one_that_loads_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order = order_for(Files(resolve("demo"), tmp_path))
    made = SimpleNamespace(options=lambda **_: None)
    ray = SimpleNamespace(remote=lambda _kind: made, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(clusters, "_connect", lambda *_: None)
    monkeypatch.setattr(clusters, "_machines", lambda: [{"CPU": 2.0}])
    monkeypatch.setattr(clusters, "Worker", Placed)
    Placed.cluster = cluster = Cluster(RayOptions("head:6379", workers=1), 1, pytest.fail)
    asked: list[tuple[str, bool, bool]] = []
    Placed.asked = asked
    assert cluster.open_worker("worker 1", order).info.engine == "fake"
    assert asked == [("host", False, False), ("load", False, True)]
    assert not cluster.is_loading("worker 1")
    asked.clear()
    monkeypatch.setattr(Placed, "has_room", False)
    told = "The cluster has no room any more for worker 1, which takes 2 CPUs"
    with pytest.raises(EngineDied, match=told):
        cluster.open_worker("worker 1", order)
    assert asked == [("host", True, False), ("end", False, False)]
    cluster.close()
