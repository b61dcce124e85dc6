"""An engine of workers on Ray: each loads the model, and together they answer as one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tulu_cli import __version__
from tulu_cli.engines.fleet import Fleet, Member
from tulu_cli.errors import NoEngine
from tulu_cli.loading.open import Purpose, with_weights
from tulu_cli.loading.prepare import Prepared
from tulu_cli.prompt import LateTokenizer
from tulu_cli.render.talk import status

if TYPE_CHECKING:
    from tulu_cli.engines.ray import RayOptions
    from tulu_cli.engines.ray.cluster import Cluster
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Settings
    from tulu_cli.streams import Streams

_JOIN_SECONDS = 10.0  # how often it is seen whether the cluster has more room


@contextmanager
def reached(
    options: "RayOptions | None", settings: "Settings", machine: "Machine", streams: "Streams"
) -> "Iterator[Cluster | None]":
    """Be connected inside to the cluster that `options` name, if they name one that there is.

    One that is to be started waits until it is needed. Raise NoEngine without Ray, and what
    connecting raises.
    """
    if options is None:
        yield None
        return
    from tulu_cli.engines.ray import why_not

    problem = why_not(machine)
    if problem is not None:
        raise NoEngine(f"--ray cannot be used: {problem}.")
    from tulu_cli.engines.ray.cluster import is_elsewhere

    if not is_elsewhere(options.address):
        yield None
        return
    with closing(_connected(options, settings, streams)) as cluster:
        yield cluster


@contextmanager
def open_workers(
    prepared: Prepared,
    options: "RayOptions",
    cluster: "Cluster | None",
    streams: "Streams",
    *,
    purpose: Purpose,
) -> Iterator[Fleet]:
    """Have workers with the model inside, as soon as one has loaded it; the others join.

    So do more, when the cluster has more room. Without a `cluster`, one is started on this machine.
    Raise what loading raises.
    """
    from tulu_cli.engines.ray.actor import Order

    prepared = with_weights(prepared, streams, purpose=purpose)
    model = prepared.token_model()
    spec = replace(model.spec, tokenizer=LateTokenizer(model.spec.directory))
    order = Order(prepared.choice.engine, spec, model.files.ref.name, __version__)
    with ExitStack() as held:
        if cluster is None:
            with status(streams, "Starting Ray ..."):
                cluster = _connected(options, prepared.settings, streams)
            held.enter_context(closing(cluster))

        def member(number: int) -> Member:
            name = f"worker {number}"
            return Member(name, partial(cluster.open_worker, name, order))

        known = cluster.room()
        fleet = Fleet(map(member, range(1, known + 1)), noun="worker", say=streams.say, loads=True)
        is_over = threading.Event()

        def add_joining() -> None:
            nonlocal known
            while not is_over.wait(_JOIN_SECONDS):
                while known < cluster.room():
                    known += 1
                    fleet.add(member(known))

        try:
            cluster.expect_room()
            with status(streams, f"Loading {model.name} with {order.engine} on Ray ..."):
                fleet.open()
            threading.Thread(target=add_joining, daemon=True).start()
            yield fleet
        finally:
            is_over.set()
            cluster.leave()
            fleet.close()


def _connected(options: "RayOptions", settings: "Settings", streams: "Streams") -> "Cluster":
    from tulu_cli.engines.ray.cluster import Cluster

    split = settings.get("tensor_parallel_size", 1) * settings.get("pipeline_parallel_size", 1)
    return Cluster(options, split, streams.say)
