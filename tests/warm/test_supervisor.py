"""An engine's life: started once, kept while it is used, gone when it is not, with no orphan."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.program import eventually
from tests.warming import order_of
from tulu_cli.errors import BadInput, EngineDied, TuluError
from tulu_cli.models import no_progress
from tulu_cli.processes import marked, resident_bytes
from tulu_cli.warm import lease, starter
from tulu_cli.warm.endpoint import leased
from tulu_cli.warm.finder import dead_logs, is_alive, sweep, warm_engines
from tulu_cli.warm.record import Warm

Start = Callable[..., Warm]


def processes(warm: Warm) -> list[int]:
    """All that belongs to an engine."""
    return [warm.state.supervisor, *marked(warm.folder)]


def runs(process: int) -> bool:
    """Whether a process is there, and no zombie that waits for us."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(found: list[int]) -> bool:
    return eventually(lambda: not any(runs(process) for process in found))


def test_an_engine_is_found_and_stopped_and_leaves_nothing(start: Start, root: Path) -> None:
    warm = start()
    assert [one.folder for one in warm_engines()] == [warm.folder]
    assert (warm.folder.stat().st_mode & 0o777, warm.socket.stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    found = processes(warm)
    assert len(found) == 2
    starter.stop(warm)
    assert all_gone(found)
    assert [path.name for path in root.iterdir()] == ["locks"]
    assert warm_engines() == []


@pytest.mark.parametrize(("given", "arenas"), [(None, "2"), ("5", "5")])
def test_an_engine_keeps_few_arenas_of_freed_memory_unless_the_user_says_how_many(
    start: Start, monkeypatch: pytest.MonkeyPatch, given: str | None, arenas: str
) -> None:
    if given is None:
        monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    else:
        monkeypatch.setenv("MALLOC_ARENA_MAX", given)
    environment = Path(f"/proc/{start().state.server}/environ").read_bytes().split(b"\0")
    found = [one for one in environment if one.startswith(b"MALLOC_ARENA_MAX=")]
    assert found == [f"MALLOC_ARENA_MAX={arenas}".encode()]


def test_the_supervisor_is_small(start: Start) -> None:
    assert 0 < resident_bytes(start().state.supervisor) < 40e6


def test_it_ends_when_it_was_idle_for_long_enough(start: Start, root: Path) -> None:
    warm = start(keep_alive=2)
    found = processes(warm)
    assert all_gone(found)
    assert [path.name for path in root.iterdir()] == ["locks"]


def test_a_lease_holds_it_and_then_its_time_begins(start: Start) -> None:
    warm = start(keep_alive=2)
    endpoint = leased(warm)
    assert endpoint
    assert endpoint.lease
    begun = time.monotonic()
    # As long as the lease is held the supervisor notes each time that the engine is in use.
    noted: list[float | None] = []

    def is_noted_again() -> bool:
        if (used := lease.last_used(warm.folder)) not in noted:
            noted.append(used)
        return len(noted) > 3

    assert eventually(lambda: is_noted_again() and time.monotonic() - begun > 2)
    assert is_alive(warm.folder)
    endpoint.lease.close()
    assert all_gone(processes(warm))


def test_nobody_gets_an_engine_that_is_about_to_go(start: Start) -> None:
    warm = start()
    alone = lease.take_alone(warm.folder)
    assert alone
    assert leased(warm) is None
    alone.close()
    assert leased(warm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_of_it(start: Start, root: Path, number: int) -> None:
    warm = start()
    found = processes(warm)
    os.kill(warm.state.supervisor, number)
    assert all_gone(found)
    assert [path.name for path in root.iterdir()] == ["locks"]


def test_a_killed_server_ends_the_supervisor_and_leaves_its_log(start: Start) -> None:
    warm = start()
    found = processes(warm)
    os.kill(warm.state.server, signal.SIGKILL)
    assert all_gone(found)
    assert [path.name for path in warm.folder.iterdir()] == ["log"]
    assert dead_logs() == [warm.folder / "log"]
    assert start().folder == warm.folder, "and it can be started again"


def test_a_killed_supervisor_takes_the_server_along(start: Start) -> None:
    warm = start()
    found = processes(warm)
    os.kill(warm.state.supervisor, signal.SIGKILL)
    assert all_gone(found)
    assert sweep() == ["demo"]
    assert sweep() == []
    assert [path.name for path in warm.folder.iterdir()] == ["log"]


def test_a_stopped_server_whose_supervisor_was_killed_is_swept_up(start: Start) -> None:
    warm = start()
    found = processes(warm)
    os.kill(warm.state.server, signal.SIGSTOP)  # so that it cannot follow its supervisor
    os.kill(warm.state.supervisor, signal.SIGKILL)
    assert eventually(lambda: not is_alive(warm.folder))
    assert runs(warm.state.server)
    assert sweep() == ["demo"]
    assert all_gone(found)


def test_two_who_start_the_same_at_once_get_one(start: Start, root: Path) -> None:
    found: list[Warm] = []
    threads = [threading.Thread(target=lambda: found.append(start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({warm.state.server for warm in found}) == 1
    assert len(found) == 4
    assert len(warm_engines()) == 1


def test_another_setting_is_another_engine(start: Start) -> None:
    assert start().folder != start(max_model_len=64).folder
    assert len(warm_engines()) == 2


def test_a_model_that_cannot_be_loaded_says_why_once(
    root: Path, demo_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    order = order_of("fake", demo_directory)
    order = replace(order, identity=replace(order.identity, directory=str(tmp_path)))
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        starter.start(order, no_progress)
    assert [path.name for path in (root / order.identity.key).iterdir()] == ["log"]
    assert warm_engines() == []
    assert sweep() == []


def test_a_server_that_dies_while_it_loads_says_its_last_words(
    root: Path, demo_directory: Path
) -> None:
    order = replace(
        order_of("fake", demo_directory),
        command=("/bin/sh", "-c", "echo 'ERROR: no luck' >&2; exit 3"),
    )
    with pytest.raises(TuluError, match="ended while it loaded, with code 3"):
        starter.start(order, no_progress)
    assert warm_engines() == []


def test_a_start_that_is_interrupted_leaves_nothing(root: Path, demo_directory: Path) -> None:
    order = replace(order_of("fake", demo_directory), command=("/bin/sh", "-c", "sleep 1000"))
    begun: list[int] = []

    def interrupt(_stage: str, _done: int, _total: int) -> None:
        begun.extend(process for folder in root.glob("????????") for process in marked(folder))
        if begun:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        starter.start(order, interrupt)
    assert all_gone(begun)
    assert [path.name for path in root.iterdir()] == ["locks"]


def test_an_engine_that_is_stopped_while_it_loads_is_said(root: Path, demo_directory: Path) -> None:
    order = replace(order_of("fake", demo_directory), command=("/bin/sh", "-c", "sleep 1000"))

    def stop(_stage: str, _done: int, _total: int) -> None:
        for warm in warm_engines():
            os.kill(warm.state.supervisor, signal.SIGTERM)

    with pytest.raises(EngineDied, match="The engine of demo was ended while it loaded"):
        starter.start(order, stop)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 100])
def test_a_folder_with_nonsense_in_it_disturbs_nobody(
    start: Start, root: Path, content: bytes
) -> None:
    folder = root / "deadbeef"
    folder.mkdir()
    for name in ("order.json", "state.json", "info.json", "log", "alive"):
        (folder / name).write_bytes(content)
    warm = start()
    assert [one.folder for one in warm_engines()] == [warm.folder]
    assert sweep() == ["deadbeef"]
    assert [path.name for path in folder.iterdir()] == ["log"]
