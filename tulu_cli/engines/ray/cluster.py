"""A cluster of Ray: reached or started, with room for workers, and left as it was."""

import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.engines.base import first_line
from tulu_cli.engines.ray import RayOptions, check_address
from tulu_cli.engines.ray.actor import WorkerActor
from tulu_cli.engines.ray.engine import RayEngine, Silent, Worker, answer_of, translated
from tulu_cli.engines.ray.order import Order
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.machine import Machine, read_machine
from tulu_cli.processes import MARK, end_marked, private_folder
from tulu_cli.text import one_line, plural

LOCAL = "local"
_ROOM_SECONDS = 10.0  # without room for so long, the user is told that it is waited for
_ROOM_AGAIN_SECONDS = 120.0  # without room for so long, a worker that had it is given up for now
_REACH_SECONDS = 10.0
_DISCONNECT_SECONDS = 0.5
_OBJECT_BYTES = 200 * 2**20  # of memory that processes share; requests and answers are small


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker takes of a machine."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        return plural(self.gpus, "GPU") if self.gpus else plural(self.cpus, "CPU")


class Cluster:
    """A connection to a cluster, which a process has one of.

    The address of the options is one that `place_of` returns. `split` is the number of GPUs that
    the model is split over, and `say` takes what is said while the first worker is waited for.
    Raise UsageError for what the cluster does not have, and EngineError where it cannot be reached.
    """

    def __init__(self, options: RayOptions, split: int, say: Callable[[str], None]) -> None:
        _import_quietly()
        self._options = options
        self._is_left = threading.Event()
        self._folder = private_folder("ray") if options.address == LOCAL else None
        self._say = say
        self._late: threading.Timer | None = None
        self._placed: set[str] = set()  # the workers that have had room, by their names
        self._loading: set[str] = set()
        try:
            _connect(options, self._folder.name if self._folder else None)
            self._share = _share(options, split)
            if not self.room():
                raise UsageError(
                    f"No machine of the cluster has {self._share}, which a worker takes: -tp, -pp "
                    "and --gpus-per-worker say how many."
                )
        except BaseException:
            self.close()
            raise

    def room(self) -> int:
        """Return how many workers there are to be: those asked for, or as many as have room."""
        if self._options.workers is not None:
            return self._options.workers
        if self._share.gpus:
            return sum(int(one.get("GPU", 0)) // self._share.gpus for one in _machines())
        return sum(one.get("CPU", 0) >= self._share.cpus for one in _machines())

    def machine(self) -> Machine:
        """Return a machine as a worker sees it. Raise EngineDied if none answers."""
        import ray

        asked = ray.remote(read_machine).options(
            num_cpus=self._share.cpus, num_gpus=self._share.gpus
        )
        self.expect_room()
        try:
            told: Machine = answer_of(asked.remote(), "A machine of the cluster", self._is_left)
        finally:
            self._got_room()
        return told

    def open_worker(self, name: str, order: Order) -> RayEngine:
        """Have a worker placed as soon as there is room, and its engine loaded.

        Raise what loading raises, with the name of the machine, and EngineDied if the worker ends,
        or if there is no room any more for one that had it.
        """
        import ray

        made: Any = ray.remote(WorkerActor).options(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        worker = Worker(made, name, self._is_left)
        try:
            worker.name = f"{name} on {self._place(worker)}"
            self._loading.add(name)
            told = worker.ask("load", order)
        except BaseException:
            worker.end()
            raise
        finally:
            self._loading.discard(name)
        if isinstance(told, TuluError):
            worker.end()
            raise type(told)(f"{worker.name}: {told}")
        return RayEngine(worker, told)

    def is_loading(self, name: str) -> bool:
        """Return True while the worker of that name has room, and loads its engine."""
        return name in self._loading

    def expect_room(self) -> None:
        """Say so if nothing has room for a worker within some seconds."""
        self._late = threading.Timer(_ROOM_SECONDS, self._say_late)
        self._late.daemon = True
        self._late.start()

    def leave(self) -> None:
        """Have no thread wait for the cluster any more; any thread may call this."""
        self._is_left.set()
        self._got_room()

    def close(self) -> None:
        """End the workers, and a cluster that was started here; leave any other as it was.

        Ray ends the workers of a process that disconnects.
        """
        import ray

        self.leave()
        if self._folder is None:
            ray.shutdown()
            return
        # Ray asks one process after the other to end, and waits for each.
        folder = Path(self._folder.name)
        killing = threading.Timer(_DISCONNECT_SECONDS, end_marked, (folder,))
        killing.start()
        ray.shutdown()
        killing.cancel()
        end_marked(folder)
        self._folder.cleanup()

    def _place(self, worker: Worker) -> str:
        """Wait until a worker has room, and return the name of its machine."""
        within = _ROOM_AGAIN_SECONDS if worker.name in self._placed else math.inf
        try:
            machine: str = worker.ask("host", within=within)
        except Silent as error:
            raise EngineDied(
                f"The cluster has no room any more for {worker.name}, which takes {self._share}."
            ) from error
        self._got_room()
        self._placed.add(worker.name)
        return machine

    def _got_room(self) -> None:
        if self._late is not None:
            self._late.cancel()

    def _say_late(self) -> None:
        self._say(f"tulu: waiting for the cluster to have room for a worker, {self._share}.")


def place_of(address: str, say: Callable[[str], None]) -> str:
    """Return the HOST:PORT of the cluster that is meant, or LOCAL where one is to be started.

    "auto" is what RAY_ADDRESS names, or else the last cluster that was started on this machine;
    one that does not answer any more is said. Raise UsageError for another RAY_ADDRESS.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
        check_address(address, "RAY_ADDRESS")
    if address != "auto":
        return address
    _import_quietly()
    from ray._private.services import find_bootstrap_address

    found: str | None = find_bootstrap_address(None)
    if not found:
        return LOCAL
    try:
        _check_reachable(found)
    except OSError:
        say(
            f"tulu: the Ray cluster at {one_line(found)}, the last one of this machine, does not "
            "answer: another one is started."
        )
        return LOCAL
    return found


def _import_quietly() -> None:
    """Import Ray so that it prints nothing of its workers, which it would print on stdout.

    Nor must a thread that asks a cluster which has been left start another one. Both is decided by
    the environment in which Ray is imported (ray/_private/ray_logging, auto_init_hook of 2.60).
    """
    own = {
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_DEDUP_LOGS": "1",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
        "RAY_DEDUP_LOGS_ALLOW_REGEX": "",
    }
    with _environment(own):
        import ray  # noqa: F401


@contextmanager
def _environment(own: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in the environment inside."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _share(options: RayOptions, split: int) -> Share:
    """Return what a worker takes: of a cluster without GPUs the cores that each of them can have.

    Ray has a process compute with as many threads as it takes cores.
    """
    machines = _machines()
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = split if any(one.get("GPU", 0) >= 1 for one in machines) else 0
    if gpus:
        return Share(1, gpus)
    cores = [int(one.get("CPU", 0)) for one in machines if one.get("CPU", 0) >= 1]
    workers = options.workers or len(cores)
    each = -(-workers // len(cores)) if cores else 1
    return Share(max(1, min(cores, default=1) // each), 0)


def _machines() -> list[Mapping[str, float]]:
    """Return the resources of each machine of the cluster. Raise EngineDied if it is gone."""
    import ray

    with translated("The Ray cluster"):
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _connect(options: RayOptions, folder: str | None) -> None:
    """Reach a cluster, or start one that has its files in `folder`. Raise EngineError."""
    import ray

    started: dict[str, Any] = {}
    if folder is not None:
        cores = os.cpu_count() or 1
        started = {
            "num_cpus": max(cores, options.workers or 0),
            "object_store_memory": _OBJECT_BYTES,
            "include_dashboard": False,
            "_temp_dir": folder,
        }
    try:
        if folder is None:
            _check_reachable(options.address)
        with _unchanged(folder):
            ray.init(options.address, log_to_driver=False, logging_level="CRITICAL", **started)
    except Exception as error:
        raise EngineError(_why_not_reached(error, options.address, folder)) from error


def _why_not_reached(error: Exception, address: str, folder: str | None) -> str:
    said = f"{first_line(error)}."
    if folder is not None:
        return f"Ray cannot be started: {said}"
    if isinstance(error, OSError) and error.strerror:
        return f"The Ray cluster at {address} does not answer: {error.strerror}."
    hint = "" if "RAY_AUTH_MODE" in os.environ else " It may want RAY_AUTH_MODE=token."
    return f"The Ray cluster at {address} does not let tulu in: {said}{hint}"


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at an address: Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()


@contextmanager
def _unchanged(folder: str | None) -> Iterator[None]:
    """Keep what Ray takes over while it begins: the handler of SIGTERM, and stderr.

    Give the processes that it starts an environment of their own.
    """
    handler, stderr = signal.getsignal(signal.SIGTERM), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with _environment(_own(folder) if folder else {}):
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
        signal.signal(signal.SIGTERM, handler)


def _own(folder: str) -> dict[str, str]:
    """Return the environment of a cluster of this machine alone: no idle processes, no metrics."""
    return {
        MARK: folder,
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_metrics_collection": "0",
    }
